"""An instructor's tables: the roster and the marks, which are only read, and the grades.

The roster is a table with a column ``student``, or what a learning management system exports:
Canvas' gradebook, or Moodle's grading worksheet.  The grades go back into the same rows.
"""

from __future__ import annotations

import csv
import html
import io
import itertools
import math
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from assignments import AssignmentError

from vaelite.files import replacing

# What both always export; the SIS columns of Canvas need a right that not every teacher has, and
# Moodle leaves out names where submissions are anonymous.
CANVAS = {"ID", "Section"}
MOODLE = {"Identifier", "Grade", "Last modified (grade)"}
EXCUSED = "EX"  # what Canvas shows where a student owes no work
LATE = "late"  # the question of a penalty
MARK_COLUMNS = ["assignment", "student", "question", "points", "words"]
# How the two name what students hand in, when all of it is downloaded at once.
CANVAS_FILE = re.compile(r"[^_]+_(?:LATE_)?(\d+)_\d+_")
MOODLE_FOLDER = re.compile(r".+_(\d+)_assignsubmission_")


def read_table(path: Path, needed: list[str]) -> list[dict[str, str]]:
    """Return the rows of a table with a header; commas or semicolons separate the cells.

    Raises:
        AssignmentError: if the file cannot be read or lacks a column.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise AssignmentError(f"{path} is not in UTF-8; save it as 'CSV UTF-8'.") from None
    except OSError as error:
        raise AssignmentError(f"{path} cannot be read: {error.strerror}.") from None
    header = text.partition("\n")[0]
    separator = ";" if header.count(";") > header.count(",") else ","
    reader = csv.DictReader(io.StringIO(text), delimiter=separator, strict=True)
    try:
        rows = [
            {key.strip(): plain(value or "") for key, value in row.items() if key} for row in reader
        ]
    except csv.Error as error:
        raise AssignmentError(f"{path}, line {reader.line_num}, is not CSV: {error}.") from None
    missing = [name for name in needed if name not in map(str.strip, reader.fieldnames or [])]
    if missing:
        raise AssignmentError(f"{path} has no column {missing[0]!r}.")
    return rows


def write_table(path: Path, rows: list[dict], columns: list[str]) -> None:
    """Write a table at once or not at all; no cell of it is a formula to a spreadsheet."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows({key: shown(value) for key, value in row.items()} for row in rows)
    write(path, text.getvalue())


def write(path: Path, text: str) -> None:
    """Write a text at once or not at all."""
    with replacing(path) as file:
        file.write(text.encode("utf-8", "replace"))


def shown(value) -> str:
    """Return a cell as text; what a spreadsheet would run gets an apostrophe in front."""
    if isinstance(value, (int, float)):
        return f"{value:.6g}"
    formula = str(value).startswith(("=", "+", "-", "@", "\t", "\r")) and value != "-"
    return f"'{value}" if formula else str(value)


def plain(cell: str) -> str:
    """Return a cell as it was before ``shown``."""
    cell = cell.strip()
    return cell[1:] if re.match(r"'[=+\-@]", cell) else cell


def similar(code: dict[str, list[str]]) -> list[dict]:
    """Return the pairs of students whose code has much in common that few others wrote.

    Args:
        code: the sources of each student's code cells.

    Returns:
        Rows with the number of lines shared, and their share of the shorter one's own lines.
    """
    lines = {
        name: {"".join(line.split()) for source in cells for line in source.splitlines()}
        for name, cells in code.items()
    }
    users = Counter(line for own in lines.values() for line in own)
    # What was handed out, or what anybody would write, stands in many notebooks.
    many = max(2, len(lines) / 4)
    own = {
        name: {line for line in found if len(line) > 16 and users[line] <= many}
        for name, found in lines.items()
    }
    rows = []
    for first, second in itertools.combinations(sorted(own), 2):
        shared = len(own[first] & own[second])
        if shared >= 5:
            share = shared / min(len(own[first]), len(own[second]))
            rows.append({"first": first, "second": second, "lines": shared, "share": share})
    return sorted((row for row in rows if row["share"] >= 0.3), key=lambda row: -row["share"])


# --- The roster --------------------------------------------------------------------------------


def read_roster(path: Path) -> dict[str, dict[str, str]]:
    """Return the students, each with the row of the table that names them.

    Raises:
        AssignmentError: if no column names students, or two rows name the same one.
    """
    rows = read_table(path, [])
    columns = set(rows[0]) if rows else set()
    if columns >= CANVAS:
        # Neither the lines of points and of posting, nor Canvas' view of a student.
        rows = [row for row in rows if row["ID"] and not _is_test_student(row)]
        names = [row.get("SIS Login ID") or row["ID"] for row in rows]
    elif columns >= MOODLE:
        names = [row.get("Email address") or row["Identifier"] for row in rows]
    elif "student" in columns:
        names = [row["student"] for row in rows]
    else:
        raise AssignmentError(
            f"{path} names no students: it should have a column 'student', or be the gradebook "
            "that Canvas exports or Moodle's grading worksheet, either of them in English."
        )
    roster: dict[str, dict[str, str]] = {}
    for name, row in zip(names, rows, strict=True):
        if not name or "/" in name or name.startswith("."):
            raise AssignmentError(f"{path}: {name!r} is no name for a student.")
        if name.casefold() in map(str.casefold, roster):
            raise AssignmentError(f"{path} has two rows for {name}.")
        roster[name] = row
    return roster


def _is_test_student(row: dict[str, str]) -> bool:
    """Whether Canvas made this row for whoever looks at the course as a student."""
    name = row.get("Student") or f"{row.get('LastName')}, {row.get('FirstName')}"
    return name == "Student, Test"


def student_of(stem: str, roster: dict[str, dict[str, str]]) -> str:
    """Return whose a file or folder is; its own name where the roster has none that fits."""
    canvas, moodle = CANVAS_FILE.match(stem), MOODLE_FOLDER.match(stem)

    def fits(name: str, row: dict[str, str]) -> bool:
        return (
            stem.casefold() == name.partition("@")[0].casefold()
            or bool(canvas and row.get("ID") == canvas[1])
            or bool(moodle and row.get("Identifier", "").rpartition(" ")[2] == moodle[1])
        )

    same = [name for name in roster if name.casefold() == stem.casefold()]
    found = same or [name for name, row in roster.items() if fits(name, row)]
    return found[0] if len(found) == 1 else stem


# --- Marks by hand -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Mark:
    """What an instructor gives for a question: points, or none yet, and words."""

    points: float | None
    words: str


@dataclass
class Book:
    """The grades of an assignment.

    Attributes:
        assignment: its name.
        questions: for each question its ``points`` and whether it is ``manual``.
        roster: the students, each with their row of the roster.
        marks: what an instructor typed, by student and question.
        records: what grading found out, by student.
        notes: more to say about a student's submission.
    """

    assignment: str
    questions: dict[str, dict]
    roster: dict[str, dict[str, str]] = field(default_factory=dict)
    marks: dict[tuple[str, str], Mark] = field(default_factory=dict)
    records: dict[str, dict] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)

    @property
    def possible(self) -> float:
        """All points of the assignment."""
        return sum(about["points"] for about in self.questions.values())

    def read_marks(self, path: Path, students: set[str]) -> None:
        """Read the marks of this assignment.

        Raises:
            AssignmentError: if a line names no student or question, or has impossible points.
        """
        known = {name.casefold(): name for name in students}
        for number, row in enumerate(read_table(path, MARK_COLUMNS[:4]), start=2):
            if row["assignment"] != self.assignment or not (row["points"] or row.get("words")):
                continue
            where = f"{path}, row {number}"
            student, question = known.get(row["student"].casefold()), row["question"]
            if student is None:
                raise AssignmentError(f"{where}: there is no student {row['student']!r}.")
            if question not in (*self.questions, LATE):
                raise AssignmentError(f"{where}: there is no question {question!r}.")
            if (student, question) in self.marks:
                raise AssignmentError(f"{where}: a second mark of {student} for {question}.")
            low, high, points = -self.possible, 0.0, None
            if question != LATE:
                low, high = 0.0, self.questions[question]["points"]
            if row["points"]:
                try:
                    points = float(row["points"].replace(",", "."))
                except ValueError:
                    points = math.nan
                if not low <= points <= high:
                    text = f"points of {question} lie between {low:g} and {high:g}"
                    raise AssignmentError(f"{where}: {text}, not at {row['points']!r}.")
            self.marks[student, question] = Mark(points, row.get("words", ""))

    def score(self, student: str, question: str) -> float | None:
        """Return the points: by hand where somebody gave some, or else what the tests gave."""
        mark = self.marks.get((student, question))
        if mark and mark.points is not None:
            return mark.points
        if self.questions[question]["manual"]:
            return None if self.records[student].get("content") else 0.0
        return self.tested(student, question)

    def tested(self, student: str, question: str) -> float:
        """Return the points that the tests gave, to a hundredth, as every table shows them."""
        found = self.records[student]["questions"].get(question)
        return round(found["score"], 2) if found else 0.0

    def penalty(self, student: str) -> float:
        """Return what an instructor takes off for a late submission, as a number below zero."""
        mark = self.marks.get((student, LATE))
        return mark.points or 0.0 if mark else 0.0

    def row(self, student: str) -> dict:
        """Return a student's row of ``grades.csv``."""
        record = self.records[student]
        scores = {question: self.score(student, question) for question in self.questions}
        notes = [record["problem"]] if record["problem"] else []
        notes += self.notes.get(student, [])
        notes += [f"cells that raised: {len(record['errors'])}"] if record["errors"] else []
        for question, about in self.questions.items():
            if scores[question] is None:
                notes.append(f"{question} is not marked yet")
            elif not about["manual"] and (mark := self.marks.get((student, question))):
                if mark.points is not None:
                    tested = self.tested(student, question)
                    notes.append(f"{question} by hand; the tests gave {tested:g}")
        penalty = self.penalty(student)
        notes += [f"{penalty:g} points for being late"] if penalty else []
        return {
            "student": student,
            **{question: "" if score is None else score for question, score in scores.items()},
            "total": round(max(0.0, sum(s or 0.0 for s in scores.values()) + penalty), 2),
            "possible": self.possible,
            "note": "; ".join(notes),
        }

    def ordered(self) -> list[str]:
        """Return the students graded so far, those of the roster first, in its order."""
        extra = sorted(name for name in self.records if name not in self.roster)
        return [name for name in self.roster if name in self.records] + extra

    def write(self, out: Path) -> None:
        """Write the tables: grades, what is still to mark, and what goes back to the LMS."""
        rows = {name: self.row(name) for name in self.ordered()}
        columns = ["student", *self.questions, "total", "possible", "note"]
        write_table(out / "grades.csv", list(rows.values()), columns)
        to_mark = [
            {"assignment": self.assignment, "student": name, "question": question}
            for name in rows
            for question in self.questions
            if self.score(name, question) is None
        ]
        for row in to_mark:
            mark = self.marks.get((row["student"], row["question"]))
            row |= {"points": "", "words": mark.words if mark else ""}
        write_table(out / "to_mark.csv", to_mark, MARK_COLUMNS)
        first = next(iter(self.roster.values()), {})
        if set(first) >= CANVAS:
            self._write_canvas(out / "canvas.csv", rows, list(first))
        elif set(first) >= MOODLE:
            self._write_moodle(out / "moodle.csv", rows, list(first))

    def _write_canvas(self, path: Path, rows: dict[str, dict], columns: list[str]) -> None:
        named = (c for c in columns if c.partition(" (")[0] == self.assignment)
        column = next(named, self.assignment)  # a new name is a new assignment to Canvas
        about = columns[: columns.index("Section") + 1]  # Canvas finds assignments behind it
        top = {about[0]: "Points Possible", column: self.possible}
        table = []
        for name, row in self.roster.items():
            if name in rows:
                excused = row.get(column, "").upper() == EXCUSED
                table.append({**row, column: EXCUSED if excused else rows[name]["total"]})
        write_table(path, [top, *table], [*about, column])

    def _write_moodle(self, path: Path, rows: dict[str, dict], columns: list[str]) -> None:
        table = []
        for name, row in self.roster.items():
            if name in rows:
                words = [
                    f"{question}: {mark.words}"
                    for question in (*self.questions, LATE)
                    if (mark := self.marks.get((name, question))) and mark.words
                ]
                # Moodle takes the cell for HTML: p<q would be a tag, and lines would run together.
                text = html.escape("\n".join(words), quote=False).replace("\n", "<br>")
                comments = text or row.get("Feedback comments", "")  # what stands there stays
                table.append({**row, "Grade": rows[name]["total"], "Feedback comments": comments})
        write_table(path, table, list(dict.fromkeys([*columns, "Grade", "Feedback comments"])))

    def write_feedback(self, path: Path, student: str) -> None:
        """Write what the student may see: of hidden tests only how many failed."""
        row, record = self.row(student), self.records[student]
        lines = [f"# {student}: {row['total']:g} of {row['possible']:g} points", ""]
        if record["problem"]:
            lines += [f"Not graded, or not all of it: {record['problem']}.", ""]
        lines += [f"- In your notebook {error}" for error in record["errors"]]
        lines += [""] * bool(record["errors"])
        if late := self.marks.get((student, LATE)):
            text = f"{self.penalty(student):g} points, since it was handed in late. {late.words}"
            lines += [text.strip(), ""]
        for question, about in self.questions.items():
            mark = self.marks.get((student, question))
            score = self.score(student, question)
            got = "not marked yet, worth" if score is None else f"{score:g} of"
            lines += [f"## {question}: {got} {about['points']:g}", ""]
            cases = record["questions"].get(question, {"cases": []})["cases"]
            failed = [case for case in cases if not case["passed"]]
            hidden = sum(case["hidden"] for case in failed)
            messages = dict.fromkeys(case["message"] for case in failed if not case["hidden"])
            lines += [f"- {message}" for message in messages]
            lines += [f"- Hidden tests with other numbers: {hidden} failed."] * bool(hidden)
            lines += ["- Every test passed."] * bool(cases and not failed)
            if mark and mark.points is not None and cases:
                lines += ["- The points were given by hand."]
            if mark and mark.words:
                lines += ["", *(f"> {line}".rstrip() for line in mark.words.splitlines())]
            lines += [""]
        write(path, "\n".join(lines))

    def write_written(self, path: Path) -> None:
        """Write the answers in words, one student after the other."""
        lines = [f"# {self.assignment}: answers in words", ""]
        for name in self.ordered():
            lines += [f"## {name}", ""]
            texts = [text.strip() + "\n" for text in self.records[name]["written"]]
            lines += texts or ["(none)\n"]
        write(path, "\n".join(lines))
