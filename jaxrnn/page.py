"""Make a page of a run: one HTML file in which its network reads, writes and learns, in any browser, offline.

It shows what surprised the network, what its units respond to, and what learning changes.
"""

if __name__ == "__main__":  # before the imports: a signal during them must end the program in one line, too
    from jaxrnn.__main__ import run_program

    run_program("page")

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from jaxrnn.config.flags import CompilationCache, Flag, Trust
from jaxrnn.config.trust import trusted
from jaxrnn.console import cli, report, terminal
from jaxrnn.console.program_flags import NewestRun
from jaxrnn.console.web_page import check_page_file
from jaxrnn.data import paths
from jaxrnn.errors import InputError
from jaxrnn.runs.loaded import load
from jaxrnn.runs.page import make_page
from jaxrnn.runtime import devices
from jaxrnn.runtime.compilation_cache import keep_programs
from jaxrnn.storage import checkpoint, run_folder


@dataclass(frozen=True)
class PageConfig:
    """Options."""

    run: NewestRun = None
    output: Annotated[Path | None, Flag("FILE", default="page.html in the run's folder")] = None
    """Output file. An existing jaxrnn page is replaced; any other file is never overwritten."""
    trust: Trust = ""
    compilation_cache: CompilationCache = True


def main(arguments: list[str] | None = None) -> None:
    """Run the program."""
    with cli.exit_on_error():
        options = cli.parse(PageConfig, "page", __doc__, arguments)
        devices.start_backend()
        run = load(options.run or checkpoint.newest_run(), trust=trusted(options.trust))
        file = run.path / run_folder.PAGE if options.output is None else paths.expand_home(options.output)
        check_page_file(file)
        with report.show_status(report.make_screen(), "making the page"), keep_programs(options.compilation_cache):
            page, problem = make_page(run)
        if problem:
            terminal.print_to_stderr(f"note: {problem}")
        content = page.html.encode()
        try:
            run_folder.replace_file(file, content)
        except OSError as error:
            raise InputError(f"{str(file)!r} cannot be written: {error.strerror}; name another file with --output") from None
        terminal.tolerate_closed_output()  # the file is the result
        print(f"{file}: {len(content) / 1000:,.0f} kB; open it in a browser")
