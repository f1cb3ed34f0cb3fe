import numpy as np
import pytest

from catsdogs.reporting import plots


def test_the_area_under_the_roc_curve_is_the_auc_of_the_metrics(findings):
    false, true = plots.roc(findings.train.labels, findings.train.logits)
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(true, false) == pytest.approx(findings.metrics.auc)
    tied = plots.roc(np.array([0, 1, 0, 1], np.int8), np.array([0.2, 0.2, 0.2, 0.9]))
    np.testing.assert_array_equal(tied, [[0, 0, 1], [0, 0.5, 1]])
