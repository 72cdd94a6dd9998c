"""What hurts, by where it is given: requests, conditions, lines, expressions, schemas, variables, configs."""

ASKED = (
    *(b'{"prompt": "The", "max_tokens": 3}', b'{"prompt": "The", "max_tokens": 3, "stream": true}', b"{", b"[]", b""),
    *(b'{"messages": [{"role": "user", "content": "1 + 1?"}], "max_tokens": 3}', b'{"prompt": [[1, 2], [3]]}'),
    *(b'{"prompt": "\\ud800", "max_tokens": 2}', b'{"model": "../../mine", "prompt": ""}', b'{"model": "gpt"}'),
    *(b'{"model": "sft", "messages": [], "tools": [{}], "response_format": {"type": "json_object"}}', b"\xff\x00"),
)
PATHS = (
    *(
        "/v1/completions",
        "/v1/completions",
        "/v1/chat/completions",
        "/tokenize",
        "/v1/models",
        "/",
        "/api/runs",
        "/%00",
    ),
    *("/api/curves?run=gpt", "/api/run?name=../../mine", "/pages/gpt/../../../text.txt", "//", "/v1/models/../x"),
)
WHERE = (
    *(
        "model=gpt",
        "val/loss<9",
        "time>2020-01-01",
        "size>1kB",
        "status=finished",
        "optimizer.lr=0",
        "nope=1",
        "a",
        "'x",
    ),
    *("val/loss<", "time>soon", "size>1e999", "=", "model=*", "time>9999-12-31T23:59:59+23:59", "step>=nan", "a=b=c"),
)
NAMED = (
    "last",
    "last-1",
    "last-99999999999",
    "runs/gpt",
    "runs/gpt runs/moe",
    "'runs/gpt",
    "mine",
    "runs",
    "[runs/gpt]",
)
LINES = (
    *(
        b"1 + 1?",
        b"\xff\xfe\xfa",
        b"\x00",
        b"a" * 50_000,
        "\u202e日本\U0001f642".encode(),
        b"\x1b[2J\x1b]0;x\x07",
        b"  ",
    ),
    *(b"<|user|><|assistant|><|endoftext|>", b"{{ 7 * 7 }}", b"\\n\\u0000", b"\xed\xa0\x80", b"<<1+1=", b"\r", b"\x04"),
)
REGEXES = (
    *(
        "(a+)+$",
        "((((((((a{1,99}){1,99}){1,99})))",
        "[",
        "(?P<x>a)(?P=x)",
        "\\p{Greek}",
        "(?<=a)b",
        "a{999999999}",
        "\\",
    ),
    *(
        "a{2,1}",
        "[^\\x00-\\xff]",
        "(?i)THE",
        "^$",
        "(" * 2000 + ")" * 2000,
        "\\d" * 3000,
        ".*",
        "[a-",
        "(?#",
        "\\x{110000}",
    ),
)
SCHEMAS: tuple[object, ...] = (
    *({"type": "object", "properties": []}, {"type": {"a": 1}}, {"$ref": "#"}, {"$ref": "http://127.0.0.1:9/x"}, [], 3),
    *({"enum": []}, {"enum": "abc"}, {"type": "array", "items": [1]}, {"type": "string", "pattern": "(a+)+$"}, True),
    *({"anyOf": {}}, {"allOf": [{"$ref": "#/allOf/0"}]}, {"type": "integer", "minimum": "a"}, {"required": {"a": 1}}),
    *(
        {"type": "string", "maxLength": -1},
        {"type": "string", "minLength": 10**9},
        {"const": "\x00\ud800"},
        {"type": []},
    ),
    *({"type": "array", "minItems": 10**7, "items": {"type": "null"}}, {"$ref": ["a"]}, {"properties": {"a": 1}}),
    *({"type": "object", "patternProperties": {"[": {}}}, {"$defs": [], "$ref": "#/$defs/0"}, {"type": "nope"}, None),
)
REWARDS = ("answer", "format", "length", "mix", "[answer,length]", "reward_model", "verifier", "[]", "[answer,nope]")
ENVIRONMENT: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("COLUMNS", "LINES"), ("0", "-1", "1", "abc", "99999999", "")),
    **dict.fromkeys(("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"), ("", "abc", "-1", "0", "1", "99")),
    **dict.fromkeys(("SLURM_NTASKS", "SLURM_PROCID", "SLURM_JOB_ID", "SLURM_STEP_ID"), ("", "abc", "-1", "1", "0")),
    **dict.fromkeys(("HOME", "TMPDIR", "HF_HOME", "XDG_CACHE_HOME", "TIKTOKEN_CACHE_DIR", "HF_DATASETS_CACHE"),
                    ("", "/nonexistent/x", "text.txt", "/dev/null", ".")),
    "CUDA_VISIBLE_DEVICES": ("", "abc", "-1", "0,0", "99"),
    "TERM": ("", "dumb", "x" * 3000),
    "TZ": ("Nowhere/Else", ":", "\x01"),
    "NO_COLOR": ("", "1"),
    "HF_HUB_OFFLINE": ("", "maybe"),
    "PYTHONPATH": ("text.txt", "/nonexistent"),
    "MASTER_PORT": ("abc", "-1", "99999999"),
    "NANOLAB_GRACE_S": ("abc", "-1"),
    "OMP_NUM_THREADS": ("abc", "0", "-1", ""),
    "USER": ("", "\x01"),
}  # fmt: skip
CONFIGS = (
    *(
        "n_layer: 1\n",
        "_target_: models.gpt.GPT\nn_layer: 1\n",
        "_target_: os.system\ncommand: touch PWNED\n",
        "[1, 2]\n",
    ),
    *(
        "defaults:\n  - gpt\n  - _self_\nn_layer: two\n",
        "defaults:\n  - nope\n",
        "defaults: 3\n",
        "a: &a [*a]\n",
        "\t\n",
    ),
    *(
        "defaults:\n  - mine\n",
        "? [1, 2]\n: x\n",
        "n_layer: ${n_head}\nn_head: ${n_layer}\n",
        "n_layer: ${oc.env:HOME}\n",
    ),
    *(
        "# @package _global_\nseed: 3\n",
        "# @package nope.x\nseed: 3\n",
        "_target_: models.gpt\n",
        "_target_: 3\n",
        "\x00\n",
    ),
    *(
        "_target_: tasks.fit.fit\n",
        "_target_: mine.Mine\n",
        "!!python/object/apply:os.system ['touch PWNED']\n",
        "--- 1\n--- 2\n",
    ),
)
ODD_NAMES = (
    *("my run", "a;b", "a'b", 'a"b', "a,b", "a=b", "[ab]", "{ab}", "ü日本", "-rf", "$HOME", "a$b", "a\\b", "a#b", "%s"),
    *(
        "a~x",
        "last",
        "a:b",
        "(a)",
        "a&b",
        "*",
        "?",
        "null",
        "1",
        "1e3",
        "true",
        "a\nb",
        " a",
        "a ",
        "a%20b",
        "a@b",
        "@",
    ),
    *("a|b", "<a>", "`id`", "!", "0-seed=1", "é" * 60, "a" * 200, "..a", "a.ckpt", "CON", "a\tb", "}", "a,"),
)
