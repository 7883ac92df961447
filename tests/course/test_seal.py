"""The seal, from both sides: what passes through the pipes, and what a submission cannot reach."""

import importlib.util
import os
import re
import subprocess
import threading
import time

import assignments
import numpy as np
import pytest
import remote
import torch
import wire
from sampling import some

LIMITS = remote.Limits(question_seconds=60, seconds=500, memory_gib=8)
PAGE = assignments.ROOT / "book" / "teaching.md"


@pytest.fixture
def peers():
    """Two peers, of which the second answers in a thread of its own."""
    there, back = os.pipe(), os.pipe()
    near, far = wire.Peer(back[0], there[1]), wire.Peer(there[0], back[1])

    def serve():
        try:
            while True:
                far.send(far.answer(far.receive()))
        except (wire.Silence, OSError):
            pass

    threading.Thread(target=serve, daemon=True).start()
    yield near, far
    os.close(there[1])
    os.close(back[1])


def remotely(peers, function):
    """The function, as if the far peer owned it."""
    near, far = peers
    return near.unpack(far.pack(function, []), [])


def test_values_travel(peers):
    values = [
        None,
        ...,
        True,
        3,
        0.1,
        float("inf"),
        "text",
        np.arange(6.0).reshape(2, 3),
        np.float32(0.5),
        np.array(7),
        torch.tensor([[1, 2]], dtype=torch.int32),
        torch.tensor(2.5, dtype=torch.float16),
        [1, (2.0, [torch.ones(2, 1)])],
    ]
    back = remotely(peers, lambda *arguments: list(arguments))(*values)
    for mine, theirs in zip(values[:7], back[:7], strict=True):
        assert mine is theirs or mine == theirs
    for mine, theirs in zip(values[7:12], back[7:12], strict=True):
        assert np.shape(mine) == np.shape(theirs)
        assert np.array_equal(np.asarray(mine), np.asarray(theirs))
    assert back[10].dtype == torch.int32 and back[11].dtype == torch.float16
    assert back[12][0] == 1 and isinstance(back[12][1], tuple)
    assert torch.equal(back[12][1][1][0], torch.ones(2, 1))


def test_what_cannot_travel_arrives_as_its_name(peers):
    back = remotely(peers, lambda: [{1: 2}, object(), np.array(["a"]), 1j])()
    assert [type(value).__name__ for value in back[:2]] == ["dict", "object"]
    assert all(isinstance(value, wire.Opaque) for value in back)
    loop = []
    loop.append(loop)
    remotely(peers, lambda: loop)()


def test_gradients_pass_through(peers):
    a = torch.tensor([0.3, -1.2, 2.0], dtype=torch.float64, requires_grad=True)
    b = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    unused = torch.ones(2, requires_grad=True)

    def function(a, b, unused):
        return a**2 * b, (a * b).sin().sum()

    first, second = remotely(peers, function)(a.clone(), b * 1.0, unused.clone())
    found = torch.autograd.grad((first * torch.arange(3)).sum() + second, (a, b))
    first, second = function(a, b, unused)
    right = torch.autograd.grad((first * torch.arange(3)).sum() + second, (a, b))
    for mine, theirs in zip(right, found, strict=True):
        assert torch.allclose(mine, theirs, rtol=1e-12)
    only = remotely(peers, function)(a.clone(), b.clone(), unused.clone())[0]
    assert torch.autograd.grad(only.sum(), unused, allow_unused=True) == (None,)
    cut = remotely(peers, lambda a: a.detach() * 2)(a.clone())
    assert not cut.requires_grad


def test_a_change_in_place_is_named_where_it_ran_sealed(peers):
    def changed(a):
        y = (a * 1).exp()
        product = y * 2 * y
        y += 1
        return product

    spec = importlib.util.spec_from_file_location("checking", assignments.HELPER)
    checking = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(checking)
    a = torch.ones(2, requires_grad=True)
    with pytest.raises(AssertionError, match="was changed in place"):
        checking.gradients(remotely(peers, changed)(a.clone()), (a,), ("no a", "none"))


def test_a_range_arrives_as_its_numbers(peers):
    assert remotely(peers, lambda: range(2, 5))() == [2, 3, 4]


def test_functions_pass_through_with_gradients(peers):
    z = torch.tensor([[0.5, -1.0], [2.0, 0.3]], dtype=torch.float64, requires_grad=True)
    asked = []

    def logit(codes):
        asked.append(codes.detach())
        return codes[:, 0] ** 2 * codes[:, 1]

    value = remotely(peers, lambda logit, z: logit(3 * z).mean())(logit, z.clone())
    (found,) = torch.autograd.grad(value, z)
    (right,) = torch.autograd.grad(logit(3 * z).mean(), z)
    assert torch.allclose(found, right, rtol=1e-12)
    assert torch.equal(asked[0], 3 * z.detach())


def test_changed_arguments_are_seen(peers):
    def change(tensor, array, numbers):
        tensor.mul_(2)
        array += 1
        numbers.pop()
        return 0

    tensor, array, numbers = torch.ones(2, requires_grad=True).clone(), np.zeros((1, 3)), [1, 2]
    remotely(peers, change)(tensor, array, numbers)
    assert tensor.tolist() == [2, 2] and array.tolist() == [[1, 1, 1]] and numbers == [1]


def test_errors_pass_through(peers):
    def raises():
        raise ZeroDivisionError("by nothing")

    with pytest.raises(wire.Foreign, match="by nothing") as caught:
        remotely(peers, raises)()
    assert type(caught.value).__name__ == "ZeroDivisionError"


class Far(dict):
    """A notebook's variables, each read through the pipes."""

    def __init__(self, peers, variables):
        self.peers, self.variables = peers, variables

    def get(self, name, default=None):
        near, far = self.peers
        return near.unpack(far.pack(self.variables.get(name, default), []), [])


@pytest.mark.parametrize(
    ("name", "question"),
    some(
        [
            ("01_foundations", "q2"),
            ("02_subspaces", "q4"),
            ("02_subspaces", "q5"),
            ("03_cross_population", "q4"),
            ("02_subspaces", "q1"),
            ("03_cross_population", "q3"),
            ("03_cross_population", "q5"),
            ("04_optimal_prior", "q2"),
            ("04_optimal_prior", "q3"),
            ("05_multi_aspect", "q1"),
            ("05_multi_aspect", "q4"),
            ("06_factorial_mixture", "q2"),
            ("06_factorial_mixture", "q4"),
            ("08_sixth_row", "q2"),
            ("08_sixth_row", "q3"),
        ],
        4,
    ),
)
def test_answers_are_judged_alike_through_the_pipes(peers, name, question, monkeypatch):
    folder = assignments.build(name)
    archive = folder / "autograder.zip"
    key = assignments.environment(folder / "solution" / f"{name}.ipynb")
    direct = assignments.run_tests

    def through(archive, variables, questions):
        return direct(archive, Far(peers, variables), questions)

    monkeypatch.setattr(assignments, "run_tests", through)
    of = [a for a in assignments.mutants(name) if a.question == question]
    assert [assignments.survives(mutant, archive, key) for mutant in of] == [None] * len(of)
    of = [a for a in assignments.equivalents(name) if a.question == question]
    assert [assignments.refused(right, archive, key) for right in of] == [None] * len(of)


@pytest.mark.parametrize(
    "sent",
    [
        b"no json\n",
        b"[1]\n",
        b'{"graph": 0, "result": {"tensor": ["f8", [3], "AAAA"]}, "arguments": {"list": []}}\n',
        b'{"graph": 0, "result": {"array": ["O8", [1], "AAAA"]}, "arguments": {"list": []}}\n',
        b'{"graph": 0, "result": {"array": ["f8", [-1], "AAAA"]}, "arguments": {"list": []}}\n',
        b"[" * 100_000 + b"\n",
    ],
)
def test_messages_that_break_the_rules_end_the_talk(sent):
    there, back = os.pipe(), os.pipe()
    peer = wire.Peer(there[0], back[1])
    os.write(there[1], sent) if len(sent) < 60_000 else threading.Thread(
        target=os.write, args=(there[1], sent), daemon=True
    ).start()
    with pytest.raises(wire.Silence):
        peer.call(0, ())
    for number in (*there, *back):
        os.close(number)


def test_silence_is_noticed():
    there, back = os.pipe(), os.pipe()
    peer = wire.Peer(there[0], back[1])
    with pytest.raises(wire.Silence, match="no answer in time"):
        peer.request({"ask": "nothing"}, 0.05 - wire.GRACE)
    os.close(there[1])
    with pytest.raises(wire.Silence, match="process ended"):
        peer.request({"ask": "nothing"}, 5)


ATTACKS = {
    "network": "import socket; socket.create_connection(('127.0.0.1', {port}), 2)",
    "elsewhere": "import socket; socket.create_connection(('1.1.1.1', 53), 2)",
    "system": "open('/usr/forged', 'w').write('x')",
    "run": "open('/run/forged', 'w').write('x')",
    "programs": "open('/grading/sealed.py', 'a').write('x')",
    "inbox": "open({inbox!r}).read()",
    "overwrite": "open({inbox!r}, 'w').write('forged')",
    "repository": "open({repository!r}).read()",
    "key": "import vaelite",
    "kill": "import os; os.kill({pid}, 9)",
    "processes": "import os; assert os.path.exists('/proc/{pid}/stat')",
    "root": "import os; assert os.getuid() == 0",
    "capabilities": "assert 'CapEff:\\t0000000000000000' not in open('/proc/self/status').read()",
    "privileges": "assert 'NoNewPrivs:\\t0' in open('/proc/self/status').read()",
    "names": "import os; assert any(os.readlink(f'/proc/self/ns/{{n}}') == i for n, i in {names})",
    "environment": "import os; os.environ['A_SECRET']",
}


def test_a_sealed_submission_reaches_nothing(seal, tmp_path, monkeypatch):
    import socket

    monkeypatch.setenv("A_SECRET", "secret")
    monkeypatch.setenv("HTTP_PROXY", "a secret as well")  # podman would hand it on
    classmate = tmp_path / "classmate.ipynb"
    classmate.write_text("her answers")
    with socket.create_server(("127.0.0.1", 0)) as server:
        facts = {
            "port": server.getsockname()[1],
            "inbox": str(classmate),
            "repository": remote.__file__,
            "pid": 1_000_000 if os.getpid() < 200 else os.getpid(),
            "names": [(n, os.readlink(f"/proc/self/ns/{n}")) for n in ("net", "pid", "ipc", "mnt")],
        }
        cells = [
            f"try:\n    exec({code.format(**facts)!r})\n    {name} = 'reached'\n"
            f"except BaseException as error:\n    {name} = repr(error)"
            for name, code in ATTACKS.items()
        ]
        cells += ["import otter\ngrader = otter.Notebook()\ngrader.check('q1')\ndef double(x):"]
        cells[-1] += "\n    return 2 * x"
        cells += ["import subprocess\nsubprocess.Popen(['sleep', '4321'], start_new_session=True)"]
        cells += ["import os\nvariables = sorted([*os.environ, *open('/proc/1/environ')])"]
        submission = remote.Submission(cells, LIMITS, seal=seal)
        try:
            submission.start()
            found = submission.variables([*ATTACKS, "double", "variables"])
            assert found.pop("double")(21) == 42
            assert "PATH" in found["variables"] and "secret" not in str(found.pop("variables"))
        finally:
            submission.close()
    assert submission.errors == []
    reached = {name: said for name, said in found.items() if said == "reached"}
    assert reached == {}
    assert classmate.read_text() == "her answers"
    assert asleep("4321") == []


def asleep(seconds: str) -> list:
    """The processes ``sleep SECONDS`` that still run."""
    import psutil

    left = [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", seconds]]
    # On a busy machine the kernel needs a moment to clear away what was killed with its namespace.
    return psutil.wait_procs(left, timeout=10)[1]


def test_modules_that_an_assignment_does_not_name_are_refused(seal):
    cells = ["import numpy as np\nimport math", "from scipy import stats", "x = np.ones(2)"]
    submission = remote.Submission(cells, LIMITS, seal=seal, modules=["numpy"])
    try:
        submission.start()
        assert submission.variables(["x"])["x"].tolist() == [1, 1]
    finally:
        submission.close()
    ((_, kind, text, _),) = submission.errors
    assert kind == "ImportError"
    assert text.startswith("scipy may not be used in this assignment; numpy may")


STUBBORN = """import subprocess
subprocess.Popen(["sleep", "4322"], start_new_session=True)
def stubborn():
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass"""


def test_who_does_not_stop_is_killed_with_all_that_it_started(seal):
    limits = remote.Limits(question_seconds=1, seconds=500, memory_gib=8)
    submission = remote.Submission([STUBBORN], limits, seal=seal, modules=[])
    submission.start()
    stubborn = submission.variables(["stubborn"])["stubborn"]
    with pytest.raises(TimeoutError, match="was stopped: no answer in time"):
        stubborn()
    assert asleep("4322") == []
    if seal in remote.ENGINES:
        everyone = subprocess.run([seal, "ps", "--all", "--no-trunc"], capture_output=True).stdout
        assert submission.mark.encode() not in everyone


def test_the_limits_hold_in_the_seal(seal):
    cells = [
        "hog = bytearray(9 * 2**30)",
        "def fill(path):\n    with open(path, 'wb') as file:\n        for _ in range(1200):\n"
        "            file.write(bytes(2**20))",
        "fill('/tmp/one')",
        "for number in range(3):\n    try:\n        fill(f'/tmp/{number}')\n"
        "    except OSError as error:\n        last = str(error)",
        "import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
        "import os, time\nchildren = 0\ntry:\n    while children < 400:\n"
        "        if os.fork() == 0:\n            time.sleep(600)\n        children += 1\n"
        "except OSError:\n    pass",
    ]
    submission = remote.Submission(cells, LIMITS, seal=seal, modules=[])
    try:
        submission.start()
        found = submission.variables(["last", "children"])
        assert "No space left" in found["last"]
        if seal != "bwrap" or os.getuid():  # the kernel counts no processes of root
            assert 200 < found["children"] < remote.MAX_PROCESSES
    finally:
        submission.close()
    kinds = [(kind, text) for _, kind, text, _ in submission.errors]
    assert [kind for kind, _ in kinds] == ["MemoryError", "OSError", "ValueError"]
    assert "File too large" in kinds[1][1] and "not allowed" in kinds[2][1]


FLOOD = """
def slow():
    import gc, os, signal, sys, threading, time
    signal.setitimer(signal.ITIMER_REAL, 0)
    wire = sys.modules["wire"]
    peer = next(thing for thing in gc.get_objects() if isinstance(thing, wire.Peer))
    def flood():
        while True:
            os.write(peer.writer, b'{"ask": "nothing"}\\n' * 5000)
    def drain():
        while True:
            os.read(peer.reader, 1 << 20)
    for work in (flood, drain):
        threading.Thread(target=work).start()
    time.sleep(60)
"""


def test_a_flood_of_questions_buys_no_time(seal):
    limits = remote.Limits(question_seconds=1, seconds=500, memory_gib=8)
    submission = remote.Submission([FLOOD], limits, seal=seal, modules=[])
    submission.start()
    slow, started = submission.variables(["slow"])["slow"], time.monotonic()
    with pytest.raises(TimeoutError, match="was stopped"):
        slow()
    assert time.monotonic() - started < 20


def test_a_request_inside_of_an_answer_ends_with_it():
    there, back = os.pipe(), os.pipe()
    peer = wire.Peer(there[0], back[1])
    peer.functions[0] = lambda: peer.request({"ask": "more"}, 500)
    os.write(there[1], b'{"ask": "call", "function": 0, "arguments": {"list": []}}\n')
    started = time.monotonic()
    with pytest.raises(wire.Silence, match="no answer in time"):
        peer.request({"ask": "nothing"}, 0.2 - wire.GRACE)
    assert time.monotonic() - started < 20
    for number in (*there, *back):
        os.close(number)


def test_an_answer_of_many_parts_is_not_read(monkeypatch):
    monkeypatch.setattr(wire, "MAX_PARTS", 1000)
    there, back = os.pipe(), os.pipe()
    peer = wire.Peer(there[0], back[1])
    os.write(there[1], b'{"result": [' + b"[]," * 1000 + b"[]]}\n")
    with pytest.raises(wire.Silence, match="more than 1,000 parts"):
        peer.receive()
    for number in (*there, *back):
        os.close(number)


def test_a_container_is_asked_for_all_that_is_promised():
    # Also where there is no engine: that it holds is for the tests above.
    for engine in remote.ENGINES:
        command = " ".join(remote._container(engine, {"NAME": "value"}, LIMITS, "mark"))
        options, _, run = command.partition(f" {remote.IMAGE} ")
        for option in (
            *("--network none", "--ipc private", "--read-only", "--user 65534:65534", "--rm"),
            *("--cap-drop ALL", "--security-opt no-new-privileges", "--pids-limit", "--pull never"),
            *("--memory 8589934592b --memory-swap 8589934592b", "--log-driver none"),
        ):
            assert f" {option} " in options, option
        for door in ("--volume", "-v ", "--mount", "--device", "--privileged", "--env", "host"):
            assert door not in options.replace("--hostname", ""), door
        assert run == "env --ignore-environment NAME=value /usr/bin/timeout --signal KILL 620"


def test_an_image_of_other_programs_is_no_seal(tmp_path, monkeypatch):
    for name in ("sealed.py", "wire.py"):
        (tmp_path / name).write_bytes(remote.WORKER.with_name(name).read_bytes())
    engine = tmp_path / "docker"
    engine.write_text(f"#!/bin/sh\ncat {tmp_path}/sealed.py {tmp_path}/wire.py\n")
    engine.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    find_seal = remote.find_seal.__wrapped__  # nothing is remembered
    assert find_seal(("docker",)) == "docker"
    (tmp_path / "wire.py").write_text("of yesterday")
    assert find_seal(("docker",)) is None
    engine.write_text("#!/bin/sh\necho No such image >&2\nexit 125\n")
    assert find_seal(("docker",)) is None


def test_the_image_is_built_by_one_command_and_holds_what_assignments_name():
    recipe = (assignments.ROOT / "book" / "tools" / "Containerfile").read_text()
    for text in (recipe, PAGE.read_text(), remote.NO_SEAL):
        assert remote.BUILD_IMAGE in text
    (installed,) = (line for line in recipe.splitlines() if line.startswith("RUN pip install"))
    for master in assignments.MASTERS.glob("*.md"):
        named = re.search(r"^requirements: \[(.*)\]", master.read_text(), re.MULTILINE)
        assert set(named[1].split(", ")) <= set(installed.split()), master.name


def test_without_a_seal_grading_asks_for_trust(tmp_path, monkeypatch, capsys):
    import grade

    (tmp_path / "alice.ipynb").touch()
    monkeypatch.setattr(remote, "find_seal", lambda: None)
    assert grade.main([str(tmp_path), "--assignment", "01_foundations"]) == 1
    said = capsys.readouterr().err
    assert "Install bubblewrap, or build the image" in said and "Or say TRUST=yes" in said
