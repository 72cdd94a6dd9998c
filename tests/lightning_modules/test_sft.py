"""The loss of supervised fine-tuning: only what counts meets the head; a model learns to stop (N27); equal to TRL."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from datamodules.batching.example_batches import padded
from lightning_modules.sft import SFTModule
from lightning_modules.update import supervised_tokens
from models.base import LanguageModel
from models.generation import generate
from models.gpt import GPT
from models.sampling import Sampling
from tokenization.byte import ByteTokenizer
from tokenization.chat import CHAT_SPECIALS, chat_template

TEMPLATE, TOKENIZER = chat_template(ByteTokenizer())
CHATS = [
    [{"role": "user", "content": q}, {"role": "assistant", "content": a}]
    for q, a in (("How many?", "two"), ("Why?", "because it is so"), ("2+2?", "4"), ("Who?", "me"))
]


def tiny(seed: int = 0) -> GPT:
    torch.manual_seed(seed)
    return GPT(vocab_size=TOKENIZER.vocab_size, seq_len=64, n_layer=2, n_head=2, n_embd=32)


def batch(chats=CHATS, **settings) -> dict[str, Tensor]:
    return padded([TEMPLATE.render(chat, **settings) for chat in chats], pad=TOKENIZER.eot)


def test_only_supervised_positions_meet_the_head_and_nothing_else_changes():
    model, micro = tiny(), batch()
    results = []
    for sparse in (False, True):
        model.zero_grad()
        out = model(micro["ids"], targets_BT=micro["targets"], sparse_targets=sparse)
        out.loss.backward()
        results.append((out.loss.detach(), out.nll_BT, [p.grad.clone() for p in model.parameters()]))
    torch.testing.assert_close(results[0], results[1])
    assert results[1][1].shape == micro["targets"].shape


def test_S4_S5_targets_are_the_tokens_that_follow():
    """A model that knows the next token has no loss; one that repeats the present one has much."""
    micro = batch()

    class Oracle(LanguageModel):
        vocab_size, seq_len, n_layer = TOKENIZER.vocab_size, 64, 1

        def __init__(self, says: Tensor):
            super().__init__()
            self.lm_head = nn.Linear(self.vocab_size, self.vocab_size, bias=False)
            self.lm_head.weight.data = 50 * torch.eye(self.vocab_size)
            self.says = says

        @property
        def head(self) -> nn.Linear:
            return self.lm_head

        def trunk(self, ids_BT, **_):
            return nn.functional.one_hot(self.says, self.vocab_size).float(), {}

    known = micro["targets"].clamp_min(0)
    losses = [SFTModule(model=Oracle(says)).loss(micro).loss.item() for says in (known, micro["ids"])]
    assert losses[0] < 1e-6 < 100 < losses[1]


def test_weights_scale_the_loss_of_their_targets():
    micro, model = batch(), tiny()
    plain = SFTModule(model=model).loss(micro)
    weights = torch.full_like(micro["targets"], 0.5, dtype=torch.float32)
    assert SFTModule(model=model).loss(micro | {"weights": weights}).loss.item() == pytest.approx(
        plain.loss.item() / 2, rel=1e-6
    )


def test_N27_the_end_is_supervised_even_where_padding_is_the_end():
    template, _ = chat_template(ByteTokenizer(), "plain")
    micro = padded([template.render(chat) for chat in CHATS], pad=template.end)
    ends = ((micro["targets"] == template.end).sum(1)).tolist()
    assert ends == [1, 1, 1, 1]
    assert supervised_tokens(micro) == sum(len(chat[1]["content"]) + 1 for chat in CHATS)


def test_S15_padding_changes_neither_the_loss_nor_the_balance_of_experts():
    from models.layers.moe.settings import MoESettings
    from models.transformer import Transformer

    sizes = {"n_layer": 2, "n_head": 2, "n_kv_head": 2, "n_embd": 16, "n_inner": 32, "seq_len": 64}
    torch.manual_seed(0)
    model = Transformer(vocab_size=TOKENIZER.vocab_size, moe=MoESettings(n_experts=4, top_k=2, ff=16), **sizes).eval()
    module, micro = SFTModule(model=model), batch()
    wider = {
        name: nn.functional.pad(value, (0, 8), value={"ids": 7, "targets": -100}.get(name, 0))
        for name, value in micro.items()
    }
    before, after = module.loss(micro), module.loss(wider)
    assert before.aux
    torch.testing.assert_close(before.loss, after.loss)
    torch.testing.assert_close(before.aux, after.aux)


@pytest.mark.parametrize("style", ["chat", "plain"])
def test_N27_a_model_that_knows_four_answers_stops_after_each(style):
    template, tokenizer = chat_template(ByteTokenizer(), style)
    micro, model = padded([template.render(chat) for chat in CHATS], pad=template.end), tiny()
    module, optimizer = SFTModule(model=model), torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(60):
        optimizer.zero_grad()
        (module.loss(micro).loss / supervised_tokens(micro)).backward()
        optimizer.step()
    prompts = [template.render_for_completion(chat).tolist() for chat in CHATS]
    found = generate(model, prompts, max_new_tokens=30, sampling=Sampling(temperature=0), stop_ids=[template.end])
    answers = [tokenizer.decode(completions[0].ids[:-1]) for completions in found]
    assert all(completions[0].stopped for completions in found)
    assert answers == [chat[1]["content"] for chat in CHATS]


# ---- against TRL -----------------------------------------------------------------------------------------------------

JINJA = (
    "{{ '<|bos|>' }}{% for m in messages %}{% if m['role'] == 'user' %}"
    "{{ '<|user_start|>' + m['content'] + '<|user_end|>' }}{% else %}{{ '<|assistant_start|>' }}"
    "{% generation %}{{ m['content'] + '<|assistant_end|>' }}{% endgeneration %}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant_start|>' }}{% endif %}"
)


class HuggingFaceModel(LanguageModel):
    """A causal LM of transformers behind our face, for the test alone."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.vocab_size, self.seq_len = inner, inner.config.vocab_size, 128

    @property
    def head(self) -> nn.Linear:
        return self.inner.lm_head

    def trunk(self, ids_BT, **_):
        return self.inner.model(input_ids=ids_BT).last_hidden_state, {}


def byte_level_tokenizer():
    """The same ids as our ByteTokenizer with chat specials, as a tokenizer of transformers."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]  # GPT-2's stand-ins for the other bytes
    names = {b: chr(b) for b in printable} | {
        b: chr(256 + i) for i, b in enumerate(b for b in range(256) if b not in printable)
    }
    inner = Tokenizer(models.BPE({names[b]: b for b in range(256)}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(["<|endoftext|>", *CHAT_SPECIALS])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<|assistant_end|>", pad_token="<|endoftext|>", chat_template=JINJA
    )


def test_loss_and_gradients_equal_TRLs_on_a_tiny_llama(tmp_path):
    from datasets import Dataset
    from transformers import LlamaConfig, LlamaForCausalLM
    from trl import SFTConfig, SFTTrainer

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    llama = LlamaForCausalLM(LlamaConfig(vocab_size=TOKENIZER.vocab_size, max_position_embeddings=128, **sizes))
    trainer = SFTTrainer(
        model=llama,
        args=SFTConfig(
            output_dir=str(tmp_path), per_device_train_batch_size=4, assistant_only_loss=True, report_to=[],
            use_cpu=True, bf16=False, max_length=128, dataset_num_proc=None,
        ),
        train_dataset=Dataset.from_list([{"messages": chat} for chat in CHATS]),
        processing_class=byte_level_tokenizer(),
    )  # fmt: skip
    theirs = trainer.data_collator([trainer.train_dataset[i] for i in range(4)])
    mine = batch()
    n = (theirs["labels"] != -100).sum()
    for row in range(4):  # the same tokens, the same of them learned
        length = int(theirs["attention_mask"][row].sum())
        labels = theirs["labels"][row, 1:length]
        assert mine["ids"][row, : length - 1].tolist() == theirs["input_ids"][row, : length - 1].tolist()
        assert mine["targets"][row, : length - 1].tolist() == labels.tolist()
    llama.train()
    their_loss = trainer.compute_loss(llama, dict(theirs), num_items_in_batch=n)
    their_loss.backward()
    expected = [p.grad.clone() for p in llama.parameters()]
    llama.zero_grad()
    my_loss = SFTModule(model=HuggingFaceModel(llama)).loss(mine).loss / supervised_tokens(mine)
    my_loss.backward()
    assert my_loss.item() == pytest.approx(their_loss.item(), abs=1e-5)
    for mine_p, theirs_p in zip(llama.parameters(), expected, strict=True):
        torch.testing.assert_close(mine_p.grad, theirs_p, atol=1e-5, rtol=0)
    assert np.isfinite(my_loss.item())
