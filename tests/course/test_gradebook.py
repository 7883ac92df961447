"""Roster, marks and what goes back to the learning management system."""

import csv

import pytest
from assignments import AssignmentError
from gradebook import Book, read_roster, read_table, shown, similar, student_of

QUESTIONS = {"q1": {"points": 4.0, "manual": False}, "q2": {"points": 2.0, "manual": True}}
# As its gradebook_exporter.rb writes it, with an assignment posted by hand, a name that begins with
# an equals sign, somebody excused and Canvas' own view of a student.
CANVAS = '''\
Student,ID,SIS User ID,SIS Login ID,Section,01_tiny (77),Final Score
,,,,,Manual Posting,
    Points Possible,,,,,6.00,(read only)
"Doé, Jane",101,007,jane,Autumn and Winter,,
"=""=Cmd, Tom""",102,S2,tom,Autumn,2.00,
"Free, Ann",103,S3,ann,Autumn,EX,
"Student, Test",199,,0a1b2c3d4e5f60718293a4b5c6d7e8f901234567,Autumn,,
'''
# As Moodle 5.1 writes it; the importer asks for Identifier, Grade and Last modified (grade).
MOODLE = '''\
Identifier,"Full name","Email address",Status,Grade,"Maximum grade","Grade can be changed",\
"Last modified (submission)","Last modified (grade)","Feedback comments"
"Participant 901","José Núñez, Doe",jane@uni.edu,"Submitted for grading -  - ",,6.00,Yes,\
"Sunday, 22 November 2026, 1:55 PM",-,
"Participant 902","=1+1 ""Tom""",tom@uni.edu,"No submission - Graded -  - ",0.00,6.00,Yes,\
-,"Sunday, 22 November 2026, 2:01 PM",<p>Typed there.</p>
'''


def table(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def record(points):
    cases = [{"hidden": False, "passed": False, "message": "Twice too large."}]
    questions = {"q1": {"score": points, "possible": 4.0, "cases": cases}}
    return {
        "questions": questions,
        "errors": [],
        "written": ["Why?"],
        "problem": None,
        "content": 1,
    }


def book(roster, tmp_path, marks="", name="01_tiny"):
    found = Book(name, QUESTIONS, roster)
    students = set(roster) | {"ann"}
    head = "assignment,student,question,points,words\n"
    found.read_marks(table(tmp_path / "marks.csv", head + marks), students)
    return found


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_canvas_gets_its_own_rows_back(tmp_path):
    roster = read_roster(table(tmp_path / "roster.csv", CANVAS))
    assert list(roster) == ["jane", "tom", "ann"]
    assert student_of("doejane_101_555_01_tiny", roster) == "jane"
    assert student_of("cmdtom_LATE_102_556_homework-2", roster) == "tom"
    assert student_of("other_104_557_01_tiny", roster) == "other_104_557_01_tiny"
    found = book(roster, tmp_path, '01_tiny,jane,q2,"1,5",Short.\n')
    found.records = {"jane": record(3.0), "tom": record(0.0), "ann": record(0.0)}
    found.write(tmp_path)
    assert rows(tmp_path / "canvas.csv") == [
        ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "01_tiny (77)"],
        ["Points Possible", "", "", "", "", "6"],
        ["Doé, Jane", "101", "007", "jane", "Autumn and Winter", "4.5"],
        ['\'="=Cmd, Tom"', "102", "S2", "tom", "Autumn", "0"],
        ["Free, Ann", "103", "S3", "ann", "Autumn", "EX"],  # a number would end the excuse
    ]
    assert rows(tmp_path / "to_mark.csv")[1:] == [
        ["01_tiny", "tom", "q2", "", ""],
        ["01_tiny", "ann", "q2", "", ""],
    ]
    assert not (tmp_path / "moodle.csv").exists()


@pytest.mark.parametrize(
    "about",
    [
        "Student,ID,Section",  # without the right to see SIS data
        "Student,ID,SIS Login ID,Section",
        "Student,ID,SIS User ID,SIS Login ID,Integration ID,Section",
        "LastName,FirstName,ID,Section",  # with names split
    ],
)
def test_canvas_gets_its_own_columns_back(tmp_path, about):
    """As its importer reads them: who it is up to Section, then assignments."""
    columns = about.split(",")
    row = {"ID": "101", "SIS Login ID": "jane"}
    cells = ",".join(row.get(column, "x") for column in columns)
    text = f"{about},Notes,Quiz (5),01_tiny (77)\n{cells},n,1,\n"
    roster = read_roster(table(tmp_path / "roster.csv", text))
    (name,) = roster
    assert name == ("jane" if "SIS Login ID" in columns else "101")
    assert student_of("doejane_101_555_01_tiny", roster) == name
    found = book(roster, tmp_path)
    found.records = {name: record(3.0)}
    found.write(tmp_path)
    head, points, jane = rows(tmp_path / "canvas.csv")
    assert head == [*columns, "01_tiny (77)"] and jane == [*cells.split(","), "3"]
    assert points == ["Points Possible", *[""] * (len(columns) - 1), "6"]


def test_moodle_without_names_goes_by_its_numbers(tmp_path):
    text = "Identifier,Status,Grade,Last modified (grade)\nParticipant 901,Submitted,,-\n"
    roster = read_roster(table(tmp_path / "roster.csv", text))
    assert list(roster) == ["Participant 901"]
    assert student_of("Participant_901_assignsubmission_file", roster) == "Participant 901"
    found = book(roster, tmp_path)
    found.records = {"Participant 901": record(3.0)}
    found.write(tmp_path)
    assert rows(tmp_path / "moodle.csv")[1] == ["Participant 901", "Submitted", "3", "-", ""]


def test_moodle_gets_its_own_worksheet_back(tmp_path):
    roster = read_roster(table(tmp_path / "roster.csv", MOODLE))
    # Its archive carries a flag for UTF-8 that not every unzip heeds.
    assert student_of("Jos+N_901_assignsubmission_file", roster) == "jane@uni.edu"
    assert student_of("TOM", roster) == "tom@uni.edu"
    words = '"=Good: p<q.\n\nR&D."'
    marks = f"01_tiny,jane@uni.edu,q2,2,{words}\n01_tiny,jane@uni.edu,late,-1,One day.\n"
    found = book(roster, tmp_path, marks)
    found.records = {name: record(4.0) for name in roster}
    found.write(tmp_path)
    given, (head, jane, tom) = rows(tmp_path / "roster.csv"), rows(tmp_path / "moodle.csv")
    assert [head[0].strip("\ufeff"), *head[1:]] == given[0]
    assert jane[0:3] == given[1][0:3] and jane[5:9] == given[1][5:9]
    assert jane[4] == "5" and tom[4] == "4"
    # Moodle shows the cell as HTML.
    assert jane[9] == "q2: =Good: p&lt;q.<br><br>R&amp;D.<br>late: One day."
    assert tom[1] == "'" + given[2][1] and tom[9] == "<p>Typed there.</p>"
    found.write_feedback(tmp_path / "jane.md", "jane@uni.edu")
    assert "> =Good: p<q.\n>\n> R&D.\n" in (tmp_path / "jane.md").read_text()


def test_marks_and_overrides_count_and_are_said(tmp_path):
    found = book({"ann": {}}, tmp_path, "01_tiny,Ann,q1,4,I was wrong.\nother,bob,q9,99,\n")
    found.records = {"ann": record(1.0)}
    row = found.row("ann")
    assert row == {
        "student": "ann",
        "q1": 4.0,
        "q2": "",
        "total": 4.0,
        "possible": 6.0,
        "note": "q1 by hand; the tests gave 1; q2 is not marked yet",
    }
    found.write_feedback(tmp_path / "ann.md", "ann")
    page = (tmp_path / "ann.md").read_text()
    assert "## q1: 4 of 4" in page and "> I was wrong." in page and "- Twice too large." in page
    assert "## q2: not marked yet, worth 2" in page


def test_points_come_in_hundredths_that_add_up(tmp_path):
    found = book({"ann": {}}, tmp_path, "01_tiny,ann,q2,1.1,\n")
    found.records = {"ann": record(25 / 7)}
    assert found.row("ann")["q1"] == 3.57 and found.row("ann")["total"] == 4.67
    found.write_feedback(tmp_path / "ann.md", "ann")
    page = (tmp_path / "ann.md").read_text()
    assert "# ann: 4.67 of 6" in page and "## q1: 3.57 of 4" in page


def test_a_penalty_is_taken_off_and_said(tmp_path):
    found = book({"ann": {}}, tmp_path, '01_tiny,ann,late,"-1,5",A day.\n')
    found.records = {"ann": record(3.0)}
    row = found.row("ann")
    assert row["total"] == 1.5 and row["possible"] == 6.0 and list(row)[1:3] == ["q1", "q2"]
    assert row["note"] == "q2 is not marked yet; -1.5 points for being late"
    found.write_feedback(tmp_path / "ann.md", "ann")
    page = (tmp_path / "ann.md").read_text()
    assert "# ann: 1.5 of 6" in page and "-1.5 points, since it was handed in late. A day." in page
    found.records = {"ann": record(1.0)}
    assert found.row("ann")["total"] == 0.0  # never below


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("01_tiny,ann,late,2,", "points of late lie between -6 and 0, not at '2'"),
        ("01_tiny,zoe,q1,1,", "row 2: there is no student 'zoe'"),
        ("01_tiny,ann,q7,1,", "row 2: there is no question 'q7'"),
        ("01_tiny,ann,q1,5,", "points of q1 lie between 0 and 4, not at '5'"),
        ("01_tiny,ann,q1,nan,", "not at 'nan'"),
        ("01_tiny,ann,q1,good,", "not at 'good'"),
        ("01_tiny,ann,q1,1,\n01_tiny,ann,q1,2,", "row 3: a second mark of ann for q1"),
    ],
)
def test_marks_that_mean_nothing_are_refused(tmp_path, line, message):
    with pytest.raises(AssignmentError, match=message):
        book({}, tmp_path, line + "\n")


def test_tables_that_cannot_be_read_are_refused(tmp_path):
    path = tmp_path / "roster.csv"
    with pytest.raises(AssignmentError, match="cannot be read"):
        read_roster(path)
    for text, message in {
        "name\nann\n": "names no students",
        "student\nann\nANN\n": "has two rows for ANN",
        "student\n../ann\n": "is no name for a student",
        'student\n"ann\n': "is not CSV",
    }.items():
        with pytest.raises(AssignmentError, match=message):
            read_roster(table(path, text))
    path.write_bytes("student\nJosé\n".encode("latin-1"))
    with pytest.raises(AssignmentError, match="not in UTF-8"):
        read_roster(path)
    with pytest.raises(AssignmentError, match="has no column 'points'"):
        read_table(table(path, "student,question\n"), ["student", "points"])


def test_a_spreadsheet_in_another_language_is_read(tmp_path):
    path = table(tmp_path / "roster.csv", "\ufeffstudent;name\nann;Ann, of course\n")
    assert read_roster(path) == {"ann": {"student": "ann", "name": "Ann, of course"}}


def test_copies_are_noticed_and_what_was_handed_out_is_none():
    given = "\n".join(f"def handed_out_{i}(x): return x" for i in range(9))
    own = {
        n: "\n".join(f"{n}_{i} = another_line_of_{n}({i})" for i in range(9)) for n in "abcdefgh"
    }
    code = {name: [given, text] for name, text in own.items()}
    assert similar(code) == []
    code["z"] = [given, own["c"].replace(" = ", "  =  ") + "\nand_one_line_of_her_own = 3"]
    assert similar(code) == [{"first": "c", "second": "z", "lines": 9, "share": 1.0}]
    code["y"] = [given, "\n".join(own["a"].splitlines()[:4])]
    assert len(similar(code)) == 1  # four lines are no reason


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@cmd", "\tx", "\rx"])
def test_no_cell_is_a_formula(cell):
    assert shown(cell) == "'" + cell
    assert shown("a" + cell) == "a" + cell and shown(-1.0) == "-1" and shown("-") == "-"
