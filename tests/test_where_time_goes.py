"""The operations of a compiled program are told apart by where they come from."""

import importlib
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "experiments"))
where_time_goes = importlib.import_module("where_time_goes")

LOOP = "jit(advance)/while/body/jvp()/while/body"
OPERATIONS = {
    "ynn_fusion.1": (
        f'kind=kCustom, metadata={{op_name="{LOOP}/LSTM.recur/dot_general"}}, "__ynn_fusion"',
        "products in the loops",
    ),
    "gates": (f'kind=kLoop, metadata={{op_name="{LOOP}/div"}}', "gates and their derivatives"),
    "bitcast_dynamic-update-slice_fusion": (f'kind=kLoop, metadata={{op_name="{LOOP}/x"}}', "storing"),
    "rounded": (f'kind=kLoop, metadata={{op_name="{LOOP}/LSTM.recur/dot_general"}}', "gates and their derivatives"),
    "of_weights": (
        'kind=kCustom, metadata={op_name="jit(advance)/while/body/t/dot_general"}, "__ynn_fusion"',
        "other products",
    ),
    "moment": ('kind=kLoop, metadata={op_name="jit(advance)/while/body/add"}', "optimizer"),
    "gather": ('kind=kLoop, metadata={op_name="jit(advance)/while/body/jvp()/gather"}', "the rest"),
    "copy": ("kind=kLoop", "the rest"),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_is_counted_among_one_kind(name):
    attributes, kind = OPERATIONS[name]
    program = f"""
    %a = f32[2]{{0}} parameter(0)
    %{name} = f32[16,256]{{1,0}} fusion(%a, %b), {attributes}
    ROOT %t = (s32[], f32[2]{{0}}) tuple(%a)
    %while.1 = (s32[], f32[2]{{0}}) while(%t), condition=%c, body=%body
    """
    assert where_time_goes.kinds_of(program) == {name: kind}


def test_times_of_a_trace_are_summed_by_kind():
    events = [
        {"ph": "X", "name": "a", "dur": 2e6},
        {"ph": "X", "name": "a", "dur": 1e6},
        {"ph": "M", "name": "a"},
        {"name": "b"},
    ]
    assert where_time_goes.sum_by_kind(events, {"a": "optimizer"}) == {"optimizer": 3.0}
