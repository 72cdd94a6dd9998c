"""Small tokenizers in folders as the Hub has them, one of each family, trained here: no download."""

import json
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

CORPUS = (Path(__file__).parents[2] / "LICENSE").read_text(encoding="utf-8")
CHAT = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<User>{% endfor %}"


def gpt2_like(folder: Path, chat_template: str | None = CHAT) -> Path:
    """Byte-level; `<|im_start|>` is special, `<User>` only known from the template, two others text may make."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.ByteLevel(trim_offsets=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    train(backend, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False))
    backend.add_special_tokens(["<|endoftext|>"])
    backend.add_tokens(["    ", "<think>"])  # text may make these
    backend.add_special_tokens(["<|im_start|>"])
    backend.add_tokens(["<User>"])
    return save(backend, folder, eos_token="<|endoftext|>", bos_token="<|endoftext|>", chat_template=chat_template)


def llama_like(folder: Path) -> Path:
    """BPE on characters with bytes for what is unknown, and a blank put in front, as Llama 2 has it."""
    backend = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    backend.decoder = decoders.Sequence(steps)
    specials = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    backend.pre_tokenizer = pre_tokenizers.Split(Regex("▁"), "merged_with_next")
    train(backend, trainers.BpeTrainer(vocab_size=500, special_tokens=specials, show_progress=False))
    backend.pre_tokenizer = None
    found = json.loads(backend.to_str())
    found["added_tokens"] = found["added_tokens"][:3]
    return save(Tokenizer.from_str(json.dumps(found)), folder, eos_token="</s>", bos_token="<s>", unk_token="<unk>")


def t5_like(folder: Path) -> Path:
    """Unigram, with `</s>` among its pieces: the model itself would find it in a text."""
    backend = Tokenizer(models.Unigram())
    backend.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    specials = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=300, special_tokens=specials, unk_token="<unk>", show_progress=False)
    train(backend, trainer)
    return save(backend, folder, eos_token="</s>", pad_token="<pad>", unk_token="<unk>")


def bert_like(folder: Path) -> Path:
    """WordPiece on lower-cased text; no end of sequence."""
    backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##")
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    train(backend, trainers.WordPieceTrainer(vocab_size=300, special_tokens=specials, show_progress=False))
    backend.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    backend.enable_truncation(8)
    return save(backend, folder, sep_token="[SEP]", cls_token="[CLS]", unk_token="[UNK]", mask_token="[MASK]")


def train(backend: Tokenizer, trainer: object) -> None:
    backend.train_from_iterator(CORPUS.splitlines(), trainer)


def save(backend: Tokenizer, folder: Path, *, chat_template: str | None = None, **roles: str) -> Path:
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **roles)
    tokenizer.chat_template = chat_template
    tokenizer.save_pretrained(folder)
    return folder


FAMILIES = {f.__name__: f for f in (gpt2_like, llama_like, t5_like, bert_like)}
LOSSLESS = ("gpt2_like", "llama_like")
