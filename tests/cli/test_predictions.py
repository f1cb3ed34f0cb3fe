"""What `predict` shows: a table in a terminal, with previews where it can show them, and CSV."""

import csv
import fcntl
import io
import os
import pty
import struct
import subprocess
import sys
import termios
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from support.program import ROOT

import catsdogs
from catsdogs.cli.predictions import predictions_csv
from catsdogs.commands.predict import Prediction
from catsdogs.errors import is_printable

NAMES = [
    "plain.jpg",
    "[red]not red[/] [link=file:///etc]x[/link].jpg",
    "\x1b[31mred\x1b]0;title\x07\x9b2J\u202egpj.jpg",
    "\udcff\udcfe.jpg",
    "a folder/" + "long" * 80 + ".jpg",
    "猫の写真" * 30 + ".jpg",
    "🐈🐕" * 30 + "👩‍👩‍👧.jpg",
]

PREDICTIONS = f"""
import fcntl, os, struct, sys, termios
import numpy as np
from catsdogs.cli.predictions import show_predictions
from catsdogs.cli.previews import preview_limit
from catsdogs.commands.predict import Prediction
names = {NAMES!r}
predictions = [Prediction(name, "dog", 0.75) for name in names]
predictions.append(Prediction("bad.jpg", None, None, "not a JPEG [bold]"))
red_over_blue = np.zeros((240, 320, 3), np.uint8)
red_over_blue[:120] = 255, 0, 0
red_over_blue[120:] = 0, 0, 255
thin = np.zeros((1, 320, 3), np.uint8)
with_previews = [
    Prediction("a.jpg", "cat", 0.1, preview=red_over_blue),
    Prediction("b.jpg", "cat", 0.1, preview=thin),
]
"""

SECTIONS = """
def section(name, columns=80, **environment):
    print("SECTION", name, flush=True)
    fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 10 * columns, 20 * 24))
    os.environ.pop("NO_COLOR", None)
    os.environ.update({"TERM": "xterm-256color"} | environment)

for columns in (40, 80, 200):
    section(f"table {columns}", columns)
    show_predictions(predictions)
section("without colours", NO_COLOR="1")
show_predictions(predictions)
print(preview_limit())
section("limits")
print(preview_limit())
os.environ["TERM"] = "dumb"
print(preview_limit())
section("narrow", 40)
print(preview_limit())
section("previews")
show_predictions(with_previews)

import support.backbone
from catsdogs.cli import main
support.backbone.install()
def predict(*arguments):
    sys.argv = ["catsdogs", "predict", *arguments]
    try:
        main()
    except SystemExit as ended:
        assert not ended.code or arguments == ("-",)
section("predict")
with open(os.devnull, "w") as sys.stderr:  # the bar is not looked at here
    predict("cat.0.jpg")
    section("predict --no-preview")
    predict("cat.0.jpg", "--no-preview")
section("predict -")
sys.stderr = sys.stdout
predict("-")
section("ascii")
sys.stdout.reconfigure(encoding="ascii", errors="backslashreplace")
print(preview_limit())
"""

GRAPHIC = ("KITTY_WINDOW_ID", "GHOSTTY_RESOURCES_DIR", "WEZTERM_PANE", "ITERM_SESSION_ID")
UNSET = {"NO_COLOR", "COLUMNS", "FORCE_COLOR", "KONSOLE_VERSION", "XTERM_VERSION", "WT_SESSION", *GRAPHIC}


def in_terminal(code, replies=(), folder=ROOT, **environment):
    """Run Python in a terminal of 80 columns, which replies where it is asked; return what it wrote there."""
    inside, outside = pty.openpty()
    fcntl.ioctl(outside, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 800, 20 * 24))
    silent = termios.tcgetattr(outside)
    silent[3] &= ~termios.ECHO  # what is replied would come back in the midst of what the program writes
    termios.tcsetattr(outside, termios.TCSANOW, silent)
    plain = {name: value for name, value in os.environ.items() if name not in UNSET}
    plain |= {"TERM": "xterm-256color", "COLORTERM": "truecolor", "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    program = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=outside,
        stdout=outside,
        stderr=subprocess.PIPE,
        env=plain | environment,
        cwd=folder,
    )
    os.close(outside)
    said, answered = b"", Counter()
    try:
        while block := os.read(inside, 65536):
            said += block
            for asked, reply in replies:
                os.write(inside, reply * (said.count(asked) - answered[asked]))
                answered[asked] = said.count(asked)
    except OSError:  # what Linux says once the program has ended
        pass
    os.close(inside)
    _, errors = program.communicate(timeout=60)
    assert (program.returncode, errors) == (0, b"")
    return said.decode()


def lines(said):
    from rich.text import Text

    return [Text.from_ansi(line) for line in said.replace("\r\n", "\n").splitlines()]


@pytest.fixture(scope="module")
def terminal(tmp_path_factory, tiny_backbone, draw):
    """What one process in a terminal wrote, by section."""
    folder = tmp_path_factory.mktemp("terminal")
    for number in range(20):
        draw(number).save(folder / f"{('cat', 'dog')[number % 2]}.{number}.jpg")
    catsdogs.run(folder, artifacts=folder / "artifacts", weights=str(tiny_backbone))
    sections = in_terminal(PREDICTIONS + SECTIONS, folder=folder).split("SECTION ")[1:]
    return dict(section.split("\r\n", 1) for section in sections)


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_a_table_fits_the_terminal_and_loses_nothing_of_any_name(terminal, columns):
    said = terminal[f"table {columns}"]
    shown = lines(said)
    assert max(line.cell_len for line in shown) <= columns
    assert all(is_printable(line.plain) for line in shown)
    _, heads, _, *_ = shown
    assert heads.plain.split() == ["image", "class", "confidence"]
    names = "".join(line.plain[: heads.plain.index("class")].strip() for line in shown if "猫" in line.plain)
    assert names.count("猫") == 30
    whole = "".join(line.plain.replace(" ", "") for line in shown)
    assert whole.count("75.00%") == len(NAMES)
    assert "notaJPEG[bold]" in whole.replace("unreadable", "")
    assert shown[-1].plain == " 8 images: 7 dog, 1 unreadable"
    if columns == 200:
        assert NAMES[1] in said
        assert r"\x1b[31mred\x1b]0;title\x07\xc2\x9b2J\xe2\x80\xaegpj.jpg" in said
        assert r"\xff\xfe.jpg" in said


def test_without_colours_a_table_is_the_same_text(terminal):
    coloured, plain = terminal["table 80"], terminal["without colours"]
    assert "\x1b[1;31m" in coloured
    assert "\x1b[1;31m" not in plain
    assert [line.plain for line in lines(plain)][:-1] == [line.plain for line in lines(coloured)]


def test_previews_are_shown_only_where_colours_and_room_allow_it(terminal):
    with_colours, dumb = terminal["limits"].split()
    assert (with_colours, dumb) == ("10", "0")
    assert terminal["without colours"].split()[-1] == "0"
    assert terminal["narrow"].split() == ["0"]
    assert terminal["ascii"].split() == ["0"]


def test_a_preview_is_half_blocks_in_its_own_colours_and_proportions(terminal):
    said = terminal["previews"]
    shown = lines(said)
    rows = [line for line in shown if "▀" in line.plain]
    assert [line.plain.count("▀") for line in rows] == [20] * 8 + [20]
    red, blue = "\x1b[38;2;255;0;0;48;2;255;0;0m▀", "\x1b[38;2;0;0;255;48;2;0;0;255m▀"
    upper, lower = said.split("a.jpg")[0].splitlines(), said.splitlines()
    assert sum(red in line for line in lower) == 4
    assert sum(blue in line for line in lower) == 4
    assert not any(blue in line for line in upper)
    assert max(line.cell_len for line in shown) <= 80


def test_a_terminal_that_cannot_show_pixels_is_not_asked(terminal):
    assert "\x1b[c" not in terminal["previews"]


def test_a_person_sees_a_table_with_previews(terminal):
    assert "▀" in terminal["predict"]
    assert "cat.0.jpg" in terminal["predict"]
    assert "▀" not in terminal["predict --no-preview"]
    assert "cat.0.jpg" in terminal["predict --no-preview"]


def test_a_person_is_told_where_nothing_is_piped(terminal):
    (said,) = (line.plain for line in lines(terminal["predict -"]))
    assert said.startswith("error: nothing is piped to standard input.")


ASKS = PREDICTIONS + "show_predictions(with_previews)"


@pytest.mark.parametrize(
    ("variable", "replies", "shown"),
    [
        # The placeholder of kitty's protocol.
        ("KITTY_WINDOW_ID", [(b"\x1b[c", b"\x1b[?62c"), (b"\x1b_G", b"\x1b_Gi=1;OK\x1b\\")], "\U0010eeee"),
        # Sixel.
        pytest.param("XTERM_VERSION", [(b"\x1b[c", b"\x1b[?62;4c")], "\x1bP", marks=pytest.mark.slow),
    ],
)
def test_a_terminal_that_can_is_given_pixels(variable, replies, shown):
    said = in_terminal(ASKS, replies, **{variable: "1"})
    assert shown in said
    assert "▀" not in said


@pytest.mark.slow
def test_who_types_while_the_terminal_is_asked_gets_half_blocks():
    typed = [(b"\x1b[c", "é".encode())]
    assert "▀" in in_terminal(ASKS, typed, XTERM_VERSION="XTerm(390)")


def test_predictions_as_csv_are_a_row_an_image_in_the_columns_of_json():
    predictions = [Prediction(NAMES[2], "dog", 0.75), Prediction('=a,"b"\n', None, None, "not a JPEG, or damaged")]
    rows = list(csv.reader(io.StringIO(predictions_csv(predictions).decode())))
    assert rows == [
        ["image", "label", "probability", "reason"],
        [r"\x1b[31mred\x1b]0;title\x07\xc2\x9b2J\xe2\x80\xaegpj.jpg", "dog", "0.75", ""],
        [r'\x3da,"b"\x0a', "", "", "not a JPEG, or damaged"],
    ]


def test_a_preview_has_the_image_s_own_proportions(encode):
    from catsdogs.images.decoding import decode_thumbnail

    tall = Image.fromarray(np.full((800, 400, 3), (200, 100, 50), np.uint8))
    turned = Image.Exif()
    turned[0x0112] = 6
    assert decode_thumbnail(encode(tall), 320).shape == (320, 160, 3)
    assert decode_thumbnail(encode(tall, "JPEG", exif=turned), 320).shape == (160, 320, 3)
    assert decode_thumbnail(encode(tall.resize((3, 2))), 320).shape == (2, 3, 3)
    assert np.abs(decode_thumbnail(encode(tall), 320) - np.array([200.0, 100, 50])).max() < 2
