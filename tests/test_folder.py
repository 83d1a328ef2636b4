import json
import math

from jaxrnn import folder


def test_a_line_of_json_holds_no_number_that_json_does_not_know(tmp_path):
    folder.add_metrics(tmp_path, "final", {"a": 1.5, "b": math.nan, "c": math.inf, "d": None, "e": "né"})
    folder.add_metrics(tmp_path, "more", {})
    first, second = (tmp_path / folder.METRICS).read_text("utf-8").splitlines()
    assert json.loads(first) == {"event": "final", "a": 1.5, "b": None, "c": None, "d": None, "e": "né"}
    assert json.loads(second) == {"event": "more"}
