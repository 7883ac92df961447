"""How the notebooks are run in the tests."""

from nbval.kernel import RunningKernel


def execute_with_history(self, cell_input, allow_stdin=None):
    """Run a cell as JupyterLab does; without history, a closing ";" would not hide a value."""
    return self.kc.execute(cell_input, allow_stdin=allow_stdin, stop_on_error=False)


RunningKernel.execute_cell_input = execute_with_history
