"""What every `Model` must do."""

import math
from collections.abc import Sequence

from cronos.ports import Model
from cronos.testing.conformance.base import require, same


class ModelConformance:
    """Subclass and write `make`, `usual` and `odd`."""

    def make(self) -> Model:
        """Give the trained model."""
        raise NotImplementedError

    def usual(self) -> Sequence[float]:
        """Give a row like those it was trained on."""
        raise NotImplementedError

    def odd(self) -> Sequence[float]:
        """Give a row that is clearly anomalous."""
        raise NotImplementedError

    def test_the_odd_scores_higher_than_the_usual(self) -> None:
        """Score one of each."""
        usual, odd = self.make().score([self.usual(), self.odd()])
        require(odd > usual, "A higher score is more anomalous.")
        require(math.isfinite(usual) and math.isfinite(odd), "Scores are numbers.")

    def test_each_row_is_scored_for_itself(self) -> None:
        """Score in another order and in another company."""
        model = self.make()
        usual, odd = model.score([self.usual(), self.odd()])
        again = model.score([self.odd(), self.usual(), self.odd()])
        same(list(again), [odd, usual, odd], "A score depends on its row alone, and stays.")

    def test_no_rows_give_no_scores(self) -> None:
        """Score nothing."""
        same(list(self.make().score([])), [], "There is one score for each row.")
