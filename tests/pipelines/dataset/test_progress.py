import io

from rich.console import Console

from pipelines.dataset.progress import Progress


def test_where_nobody_watches_it_writes_lines():
    page = io.StringIO()
    with Progress(total=3, done=1, console=Console(file=page)) as progress:
        progress.count_failure("too dark")
        progress.count_finished()
        progress.count_finished()
    assert page.getvalue().splitlines()[-1].startswith("3/3 scenes, ")
    assert "too dark x1" in page.getvalue()
    assert "\x1b" not in page.getvalue()


def test_on_a_terminal_it_is_a_bar_with_rate_and_time_left():
    page = io.StringIO()
    console = Console(file=page, force_terminal=True, width=120)
    with Progress(total=4, done=0, console=console) as progress:
        progress.count_finished()
        progress.count_failure("timed out")
    text = page.getvalue()
    assert "1/4" in text
    assert "s a scene" in text
    assert "left" in text
    assert "timed out x1" in text
