"""What a batch is: the one contract between data, models and objectives.

A batch is a dictionary of tensors. Which keys it has depends on the data; `LanguageModel.inputs_of` says which of them
enter the model. B rows, T tokens, P prompts or pairs; rows are padded on the right.

| key | shape, dtype | meaning |
|---|---|---|
| `ids` | (B, T) int64 | the tokens that are read |
| `targets` | (B, T) int64 | the token that follows each, `IGNORE` where no loss is wanted |
| `weights` | (B, T) float32 | of each target in the loss; 1 where the key is missing |
| `documents` | (B, T) int32 | which document of its row a token belongs to: attention and positions stay within |
| `padding` | (B, T) bool | True at real tokens |
| `lengths` | (B,) int64 | real tokens of each row; 0 in rows that only fill up a batch. Says the same as `padding` |
| `index` | (P,) int64 | number of each pair or example in its data set |
| `labels` | (B,) bool | whether a completion is a desirable one, an answer a right one |
| `margins` | (P,) float32 | by how much the chosen completion is said to be better |
| `reference` | (B,) float32 | log-probability of each row's targets under the reference (boosting on pairs) |
| `document_index` | (B, T) int64 | the document or example of each target over the split, -1 where there is none |
| `source` | (B, T) int64 | the source of each target in a mixture |

Of rollouts (lightning_modules/rl/rollouts.py), whose targets are the tokens that the policy chose:

| key | shape, dtype | meaning |
|---|---|---|
| `generated` | (B, T) float32 | log-probability of each target under the distribution that it was drawn from |
| `old` | (B, T) float32 | the same by the trainer's forward pass, before the first update of this rollout |
| `ref` | (B, T) float32 | under the reference |
| `values`, `returns` | (B, T) float32 | the critic's expectation of what is to come, and what came |
| `advantages` | (B, T) float32 | of each target |
| `asked` | (B,) int64 | number of the question that a row answers: rows with the same one begin alike |
| `scores` | (B,) float32 | reward of each row |
| `stopped`, `counted` | (B,) bool | ended by itself; takes part in the update |

Pairs have B = 2 P rows: the P chosen completions with their prompts, then the P rejected ones. What rows i and i + P
begin with is read once by a model that can (models/layers/compact.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Batch = dict[str, "Tensor"]
IGNORE = -100  # a target without loss; PyTorch's own convention (cross_entropy's ignore_index)
