# ruff: noqa: E501 - a line of a template is a line
"""Chat templates that look at what the templates of ten families of models look at, in words of our own.

What they test, split, trim and join of a conversation is what those published with the models do, and so are the names
of their tokens; «...» is what the assistant says, for the mask that is expected.
"""

from typing import NamedTuple


class Family(NamedTuple):
    """`controls`: its tokens besides bos and eos. What of a conversation its template takes."""

    template: str
    controls: tuple[str, ...]
    bos: str
    eos: str
    tools: bool = True
    thinks: bool = False
    system: bool = True
    n_calls: int = 2


# the latest question decides whose thoughts are shown; content is searched for them
QWEN3 = r"""
{%- if tools %}
    {{- '<|im_start|>system\n' }}
    {%- if messages[0].role == 'system' %}{{- messages[0].content + '\n\n' }}{%- endif %}
    {{- 'You may call these.\n<tools>' }}
    {%- for tool in tools %}{{- '\n' }}{{- tool | tojson }}{%- endfor %}
    {{- '\n</tools>\nCalls go between <tool_call></tool_call>.<|im_end|>\n' }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}
{%- endif %}
{%- set ns = namespace(searching=true, last=messages | length - 1) %}
{%- for message in messages[::-1] %}
    {%- set i = messages | length - 1 - loop.index0 %}
    {%- if ns.searching and message.role == 'user' and not (message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.searching = false %}{%- set ns.last = i %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- if message.role == 'user' or (message.role == 'system' and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\n' + content + '<|im_end|>\n' }}
    {%- elif message.role == 'assistant' %}
        {%- set thoughts = '' %}
        {%- if message.reasoning_content is string %}
            {%- set thoughts = message.reasoning_content %}
        {%- elif '</think>' in content %}
            {%- set thoughts = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\n') %}
        {%- endif %}
        {{- '<|im_start|>assistant\n' }}«
        {%- if loop.index0 > ns.last and (loop.last or thoughts) %}
            {{- '<think>\n' + thoughts.strip('\n') + '\n</think>\n\n' + content.lstrip('\n') }}
        {%- else %}{{- content }}{%- endif %}
        {%- for call in message.tool_calls or [] %}
            {%- if (loop.first and content) or not loop.first %}{{- '\n' }}{%- endif %}
            {%- if call.function %}{%- set call = call.function %}{%- endif %}
            {{- '<tool_call>\n{"name": "' }}{{- call.name }}{{- '", "arguments": ' }}
            {%- if call.arguments is string %}{{- call.arguments }}{%- else %}{{- call.arguments | tojson }}{%- endif %}
            {{- '}\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>' }}»{{- '\n' }}
    {%- elif message.role == 'tool' %}
        {%- if loop.first or messages[loop.index0 - 1].role != 'tool' %}{{- '<|im_start|>user' }}{%- endif %}
        {{- '\n<tool_response>\n' + content + '\n</tool_response>' }}
        {%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{- '<|im_end|>\n' }}{%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
    {%- if enable_thinking is defined and not enable_thinking %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}
{%- endif %}"""

# tools stand in the first question; everything is trimmed; the system message is always there
LLAMA3 = r"""
{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
    {%- set system = messages[0]['content'] | trim %}{%- set messages = messages[1:] %}
{%- else %}{%- set system = '' %}{%- endif %}
{{- '<|start_header_id|>system<|end_header_id|>\n\n' }}
{%- if tools is not none %}{{- 'Environment: ipython\n' }}{%- endif %}
{{- system }}{{- '<|eot_id|>' }}
{%- if tools is not none %}
    {%- if messages | length == 0 %}{{- raise_exception('no question') }}{%- endif %}
    {%- set first = messages[0]['content'] | trim %}{%- set messages = messages[1:] %}
    {{- '<|start_header_id|>user<|end_header_id|>\n\nFunctions:\n\n' }}
    {%- for tool in tools %}{{- tool | tojson(indent=4) }}{{- '\n\n' }}{%- endfor %}
    {{- first + '<|eot_id|>' }}
{%- endif %}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {%- if message['role'] == 'assistant' %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}«{{- message['content'] | trim + '<|eot_id|>' }}»
        {%- else %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}
        {%- endif %}
    {%- elif 'tool_calls' in message %}
        {%- if message.tool_calls | length != 1 %}{{- raise_exception('one call at a time') }}{%- endif %}
        {%- set call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}«{{- '{"name": "' + call.name + '", ' }}
        {{- '"parameters": ' }}{{- call.arguments | tojson }}{{- '}' }}{{- '<|eot_id|>' }}»
    {%- else %}
        {{- '<|start_header_id|>ipython<|end_header_id|>\n\n' }}
        {%- if message.content is mapping or (message.content is iterable and message.content is not string) %}{{- message.content | tojson }}
        {%- else %}{{- message.content }}{%- endif %}{{- '<|eot_id|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}"""

# the assistant is called model; the system message opens the first question; other orders are refused
GEMMA = r"""
{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- set opening = messages[0]['content'] + '\n\n' -%}{%- set rest = messages[1:] -%}
{%- else -%}{%- set opening = '' -%}{%- set rest = messages -%}{%- endif -%}
{%- for message in rest -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}{{ raise_exception('in turn, please') }}{%- endif -%}
    {%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}
    {{ '<start_of_turn>' + role + '\n' + (opening if loop.first else '') }}
    {%- if role == 'model' %}«{{ message['content'] | trim }}{{ '<end_of_turn>' }}»{{ '\n' }}
    {%- else -%}{{ message['content'] | trim }}{{ '<end_of_turn>\n' }}{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<start_of_turn>model\n' }}{%- endif -%}"""

# no heading of answers; tools and the system message stand before and in the last question
MISTRAL = r"""
{%- if messages[0]['role'] == 'system' %}
    {%- set system = messages[0]['content'] %}{%- set rest = messages[1:] %}
{%- else %}{%- set rest = messages %}{%- endif %}
{%- set asked = rest | selectattr('role', 'equalto', 'user') | list %}
{{- bos_token }}
{%- for message in rest %}
    {%- if message['role'] == 'user' %}
        {%- if tools is not none and message == asked[-1] %}
            {{- '[AVAILABLE_TOOLS] [' }}
            {%- for tool in tools %}
                {%- set tool = tool.function %}{{- '{"type": "function", "function": {' }}
                {%- for key, value in tool.items() if key != 'return' %}
                    {%- if value is string %}{{- '"' + key + '": "' + value + '"' }}
                    {%- else %}{{- '"' + key + '": ' + value | tojson }}{%- endif %}
                    {%- if not loop.last %}{{- ', ' }}{%- endif %}
                {%- endfor %}
                {{- '}}' }}{%- if not loop.last %}{{- ', ' }}{%- else %}{{- ']' }}{%- endif %}
            {%- endfor %}
            {{- '[/AVAILABLE_TOOLS]' }}
        {%- endif %}
        {%- if loop.last and system is defined %}{{- '[INST] ' + system + '\n\n' + message['content'] + '[/INST]' }}
        {%- else %}{{- '[INST] ' + message['content'] + '[/INST]' }}{%- endif %}
    {%- elif message['role'] == 'tool' %}
        {{- '[TOOL_RESULTS] {"content": ' + message.content | string + ', "call_id": "' + message.tool_call_id + '"}[/TOOL_RESULTS]' }}
    {%- elif message.tool_calls is defined and message.tool_calls is not none %}
        «{{- '[TOOL_CALLS] [' }}
        {%- for call in message.tool_calls %}
            {%- set written = call.function | tojson %}
            {{- written[:-1] }}
            {{- ', "id": "' + call.id + '"}' }}
            {%- if not loop.last %}{{- ', ' }}{%- else %}{{- ']' + eos_token }}{%- endif %}
        {%- endfor %}»
    {%- elif message['role'] == 'assistant' %}«{{- ' ' + message['content'] | trim + eos_token }}»
    {%- else %}{{- raise_exception('unknown role') }}
    {%- endif %}
{%- endfor %}"""

# thoughts of earlier answers are cut out of the content; the prompt begins to think
DEEPSEEK = r"""
{%- set ns = namespace(is_tool=false, is_first=true, system='') %}
{%- for message in messages %}{%- if message['role'] == 'system' %}{%- set ns.system = ns.system + message['content'] %}{%- endif %}{%- endfor %}
{{- bos_token }}{{- ns.system }}
{%- for message in messages %}
    {%- if message['role'] == 'user' %}
        {%- set ns.is_tool = false %}{{- '<｜User｜>' + message['content'] }}
    {%- elif message['role'] == 'assistant' and message['tool_calls'] is defined and message['tool_calls'] is not none %}
        {%- if ns.is_tool %}{{- '<｜tool▁outputs▁end｜>' }}{%- set ns.is_tool = false %}{%- else %}{{- '<｜Assistant｜>' }}{%- endif %}«
        {%- set ns.is_first = true %}
        {%- if message['content'] %}{{- message['content'] }}{%- endif %}
        {%- for call in message['tool_calls'] %}
            {%- if ns.is_first %}{{- '<｜tool▁calls▁begin｜>' }}{%- set ns.is_first = false %}{%- else %}{{- '\n' }}{%- endif %}
            {{- '<｜tool▁call▁begin｜>' + call['type'] + '<｜tool▁sep｜>' + call['function']['name'] + '\n```json\n' + call['function']['arguments'] | tojson + '\n```<｜tool▁call▁end｜>' }}
        {%- endfor %}
        {{- '<｜tool▁calls▁end｜><｜end▁of▁sentence｜>' }}»
    {%- elif message['role'] == 'assistant' %}
        {%- set content = message['content'] %}
        {%- if '</think>' in content %}{%- set content = content.split('</think>')[-1] %}{%- endif %}
        {%- if ns.is_tool %}{{- '<｜tool▁outputs▁end｜>' }}{%- set ns.is_tool = false %}{%- else %}{{- '<｜Assistant｜>' }}{%- endif %}
        «{{- content + '<｜end▁of▁sentence｜>' }}»
    {%- elif message['role'] == 'tool' %}
        {%- if not ns.is_tool %}{{- '<｜tool▁outputs▁begin｜>' }}{%- set ns.is_tool = true %}{%- else %}{{- '\n' }}{%- endif %}
        {{- '<｜tool▁output▁begin｜>' + message['content'] + '<｜tool▁output▁end｜>' }}
    {%- endif %}
{%- endfor %}
{%- if ns.is_tool %}{{- '<｜tool▁outputs▁end｜>' }}{%- endif %}
{%- if add_generation_prompt and not ns.is_tool %}{{- '<｜Assistant｜><think>\n' }}{%- endif %}"""

# names of tokens are put together from the role
PHI4 = r"""
{%- for message in messages %}
    {%- if message['role'] == 'system' and tools %}
        {{- '<|' + message['role'] + '|>' + message['content'] + '<|tool|>' + tools | tojson(sort_keys=True, separators=(',', ':')) + '<|/tool|>' + '<|end|>' }}
    {%- elif message['role'] == 'assistant' %}
        {{- '<|assistant|>' }}«
        {%- if message.content %}{{- message['content'] }}{%- endif %}
        {%- if message.tool_calls %}{{- '<|tool_call|>%s<|/tool_call|>' % (message.tool_calls | map(attribute='function') | list | tojson(ensure_ascii=True)) }}{%- endif %}
        {{- '<|end|>' }}»
    {%- else %}{{- '<|' ~ message['role'] ~ '|>' ~ message['content'] ~ '<|end|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|assistant|>' }}{%- else %}{{- eos_token }}{%- endif %}"""

# a word in the system message switches thinking off, and with it the prompt
SMOLLM3 = r"""
{%- set ns = namespace(system='', mode='/think') %}
{%- if messages[0].role == 'system' %}
    {%- set ns.system = messages[0].content %}
    {%- if '/no_think' in ns.system %}{%- set ns.mode = '/no_think' %}{%- endif %}
    {%- set ns.system = ns.system.replace('/no_think', '').replace('/think', '').rstrip() %}
{%- endif %}
{{- '<|im_start|>system\n## Metadata\n\nReasoning: ' ~ ns.mode ~ '\n\n' ~ ns.system ~ '\n' }}
{%- if tools %}
    {%- set listed = namespace(text='<tools>\n') %}
    {%- for tool in tools %}{%- set listed.text = listed.text ~ (tool.function | string) ~ '\n' %}{%- endfor %}
    {{- listed.text + '</tools>\n' }}
{%- endif %}
{{- '<|im_end|>\n' }}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- if message.role == 'user' %}{{- '<|im_start|>' + message.role + '\n' + content + '<|im_end|>\n' }}
    {%- elif message.role == 'assistant' %}
        {%- if ns.mode == '/think' %}
            {{- '<|im_start|>assistant\n' }}
        {%- else %}
            {{- '<|im_start|>assistant\n<think>\n\n</think>\n' }}
        {%- endif %}«
        {{- content.lstrip('\n') }}
        {%- for call in message.tool_calls or [] %}{{- '\n<tool_call>' ~ call.function.name ~ call.function.arguments ~ '</tool_call>' }}{%- endfor %}
        {{- '<|im_end|>' }}»{{- '\n' }}
    {%- elif message.role == 'tool' %}{{- '<|im_start|>user\n' + content + '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {%- if ns.mode == '/think' %}{{- '<|im_start|>assistant\n' }}{%- else %}{{- '<|im_start|>assistant\n<think>\n\n</think>\n' }}{%- endif %}
{%- endif %}"""

# the prompt stands inside the loop; the last answer has no line break behind it
OLMO2 = r"""
{{- bos_token }}
{%- for message in messages %}
    {%- if message['role'] == 'system' %}{{- '<|system|>\n' + message['content'] + '\n' }}
    {%- elif message['role'] == 'user' %}{{- '<|user|>\n' + message['content'] + '\n' }}
    {%- elif message['role'] == 'assistant' %}
        {%- if not loop.last %}{{- '<|assistant|>\n' }}«{{- message['content'] + eos_token }}»{{- '\n' }}
        {%- else %}{{- '<|assistant|>\n' }}«{{- message['content'] + eos_token }}»{%- endif %}
    {%- endif %}
    {%- if loop.last and add_generation_prompt %}{{- '<|assistant|>\n' }}{%- endif %}
{%- endfor %}"""

# one macro for every turn; tools as a turn of their own
GRANITE = r"""
{%- macro turn(role, text, end=true) -%}
{{ '<|start_of_role|>' ~ role ~ '<|end_of_role|>' ~ text }}{% if end %}{{ '<|end_of_text|>\n' }}{% endif %}
{%- endmacro %}
{%- if messages[0]['role'] == 'system' %}{%- set system = messages[0]['content'] %}{%- set rest = messages[1:] %}
{%- else %}{%- set system = 'You are helpful.' %}{%- set rest = messages %}{%- endif %}
{{- turn('system', system) }}
{%- if tools %}{{- turn('available_tools', tools | tojson(indent=4)) }}{%- endif %}
{%- for message in rest %}
    {%- if message['role'] == 'tool' %}{{- turn('tool_response', message['content'] | default('', true)) }}
    {%- elif message['role'] != 'assistant' %}{{- turn(message['role'], message['content']) }}
    {%- else %}
        {{- turn('assistant', '', false) }}«
        {%- set said %}{{ message['content'] or '' }}{% if message.tool_calls %}{{ '<|tool_call|>' }}{{ message.tool_calls | map(attribute='function') | list | tojson }}{% endif %}{% endset %}
        {{- said }}{{- '<|end_of_text|>' }}»{{- '\n' }}
    {%- endif %}
    {%- if loop.last and add_generation_prompt %}{{- '<|start_of_role|>assistant<|end_of_role|>' }}{%- endif %}
{%- endfor %}"""

# parts are put into a list and joined; a plan before the calls; results in a turn of the system
COMMAND_R = r"""
{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}{%- set system = messages[0]['content'] %}{%- set rest = messages[1:] %}
{%- else %}{%- set system = false %}{%- set rest = messages %}{%- endif %}
{%- if system or tools %}
    {{- '<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>' + (system or 'Help.') }}
    {%- for tool in tools or [] %}
        {%- set ns = namespace(lines=[]) %}
        {%- for name, of in tool.function.parameters.properties.items() %}{%- set ns.lines = ns.lines + ['%s: %s' % (name, of.type)] %}{%- endfor %}
        {{- '\n\ndef {}({}):\n    {}'.format(tool.function.name, ns.lines | join(', '), tool.function.description | indent(4)) }}
    {%- endfor %}
    {{- '<|END_OF_TURN_TOKEN|>' }}
{%- endif %}
{%- for message in rest %}
    {%- if message['role'] == 'user' %}{{- '<|START_OF_TURN_TOKEN|><|USER_TOKEN|>' + message['content'].strip() + '<|END_OF_TURN_TOKEN|>' }}
    {%- elif message['role'] == 'assistant' %}
        {{- '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>' }}«
        {%- if message.tool_calls is defined %}
            {{- (message.content or 'I will look.') + '\nAction:\n```json\n[' }}
            {%- for call in message.tool_calls %}{{- '\n    ' + {'tool_name': call.function.name, 'parameters': call.function.arguments} | tojson }}{%- if not loop.last %},{% endif %}{%- endfor %}
            {{- '\n]\n```' }}
        {%- else %}{{- message['content'].strip() }}{%- endif %}
        {{- '<|END_OF_TURN_TOKEN|>' }}»
    {%- elif message['role'] == 'tool' %}{{- '<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|><results>\n' + message['content'] + '</results><|END_OF_TURN_TOKEN|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>' }}{%- endif %}"""

IM = ("<|im_start|>", "<|im_end|>")
FAMILIES = {
    "qwen3": Family(
        QWEN3,
        (*IM, "<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>"),
        "",
        "<|im_end|>",
        thinks=True,
    ),
    "llama3": Family(
        LLAMA3, ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"), "<|begin_of_text|>", "<|eot_id|>", n_calls=1
    ),
    "gemma": Family(GEMMA, ("<start_of_turn>", "<end_of_turn>"), "<bos>", "<eos>", tools=False),
    "mistral": Family(
        MISTRAL,
        (
            "[INST]",
            "[/INST]",
            "[TOOL_CALLS]",
            "[AVAILABLE_TOOLS]",
            "[/AVAILABLE_TOOLS]",
            "[TOOL_RESULTS]",
            "[/TOOL_RESULTS]",
        ),
        "<s>",
        "</s>",
    ),
    "deepseek": Family(
        DEEPSEEK,
        (
            *("<｜User｜>", "<｜Assistant｜>", "<think>", "</think>", "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"),
            *("<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", "<｜tool▁sep｜>", "<｜tool▁outputs▁begin｜>"),
            *("<｜tool▁outputs▁end｜>", "<｜tool▁output▁begin｜>", "<｜tool▁output▁end｜>"),
        ),
        "<｜begin▁of▁sentence｜>",
        "<｜end▁of▁sentence｜>",
        thinks=True,
    ),
    "phi4": Family(
        PHI4,
        (
            "<|system|>",
            "<|user|>",
            "<|assistant|>",
            "<|end|>",
            "<|tool|>",
            "<|/tool|>",
            "<|tool_call|>",
            "<|/tool_call|>",
        ),
        "<|endoftext|>",
        "<|endoftext|>",
    ),
    "smollm3": Family(SMOLLM3, (*IM, "<think>", "</think>", "<tool_call>"), "", "<|im_end|>"),
    "olmo2": Family(OLMO2, ("<|user|>", "<|assistant|>", "<|system|>"), "<|bos|>", "<|endoftext|>", tools=False),
    "granite": Family(
        GRANITE,
        ("<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>", "<|tool_call|>"),
        "<|end_of_text|>",
        "<|end_of_text|>",
    ),
    "command_r": Family(
        COMMAND_R,
        ("<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>", "<|SYSTEM_TOKEN|>"),
        "<BOS_TOKEN>",
        "<|END_OF_TURN_TOKEN|>",
    ),
}
