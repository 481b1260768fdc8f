"""Settings with which a federation would do harm are refused before anything starts."""

import pytest

from cronos.config import Config, Mesh, Policy
from cronos.errors import InputError
from cronos.front.federation import require_safe

SHARE = Policy(budget_share=0.25)


def test_a_node_with_its_part_of_the_budget_may_join():
    require_safe(Config(policy=SHARE, mesh=Mesh(listen="127.0.0.1:0", join=("127.0.0.1:7443",))))


@pytest.mark.parametrize(
    ("config", "word"),
    [
        (Config(mesh=Mesh(listen="127.0.0.1:0")), "budget"),
        (Config(policy=SHARE, mesh=Mesh(join=("127.0.0.1:7443",))), "listens nowhere"),
        (Config(policy=SHARE, mesh=Mesh(listen="127.0.0.1:0", roles=())), "no role"),
        (
            Config(policy=SHARE, mesh=Mesh(listen="127.0.0.1:0"), sealer="plaintext"),
            "unsealed",
        ),
    ],
)
def test_what_would_do_harm_is_refused_with_a_remedy(config, word):
    with pytest.raises(InputError) as refused:
        require_safe(config)

    assert refused.value.code == "front.unsafe_mesh"
    assert word in refused.value.sentence
    assert refused.value.remedy
