import io

from rich.console import Console

from pipelines.progress import Progress


def test_without_a_terminal_progress_is_printed_as_lines():
    page = io.StringIO()
    with Progress("scene", total=3, done=1, console=Console(file=page)) as progress:
        progress.count_failure("too dark")
        progress.advance()
        progress.advance()
    assert page.getvalue().splitlines()[-1].startswith("3/3 scenes, ")
    assert "too dark x1" in page.getvalue()
    assert "\x1b" not in page.getvalue()


def test_on_a_terminal_progress_is_a_bar_with_pace_and_time_left():
    page = io.StringIO()
    console = Console(file=page, force_terminal=True, width=120)
    with Progress("scene", total=4, console=console) as progress:
        progress.advance()
        progress.count_failure("timed out")
    text = page.getvalue()
    assert "1/4" in text
    assert "s per scene" in text
    assert "left" in text
    assert "timed out x1" in text


def test_a_status_is_shown_in_place_of_the_pace():
    page = io.StringIO()
    with Progress("step", total=10, console=Console(file=page)) as progress:
        progress.update(2, "loss 0.5")
    before, after = page.getvalue().splitlines()
    assert before == "0/10 steps, starting"
    assert after.startswith("2/10 steps, loss 0.5, 0:00 left")
    assert "s per step" not in page.getvalue()


def test_after_a_restart_the_pace_counts_new_units_only(monkeypatch):
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    progress = Progress("step", total=10, console=Console(file=io.StringIO()))
    now = 160.0
    progress.update(6)
    progress.restart(4)
    assert progress.describe() == "starting"
    now = 164.0
    progress.update(6)
    assert progress.describe() == "2.0 s per step, 0:08 left"
