"""A tool-using agent in plain `openai`: it may call a calculator, then answers with the number alone."""

import ast
import json
import operator

SYSTEM = "Use the calculator, then reply with the number alone."
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "calculator",
            "description": "The value of an arithmetic expression.",
            "parameters": {
                "type": "object",
                "properties": {"expression": {"type": "string"}},
                "required": ["expression"],
            },
        },
    }
]
MOST_CALLS = 2
OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}


async def agent(task, client):
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": task["question"]}]
    for _ in range(MOST_CALLS + 1):
        done = await client.chat.completions.create(model="policy", messages=messages, tools=TOOLS, max_tokens=64)
        said = done.choices[0].message
        if not said.tool_calls:
            return said.content
        messages.append(said.model_dump(exclude_none=True))
        messages += [
            {"role": "tool", "tool_call_id": call.id, "content": answer(call.function.name, call.function.arguments)}
            for call in said.tool_calls
        ]
    return None


def answer(name, arguments):
    """What a call comes to, in words where it comes to nothing: the model may have written anything."""
    try:
        return calculate(str(json.loads(arguments)["expression"])) if name == "calculator" else f"no tool {name}"
    except (ValueError, KeyError, TypeError):
        return "no expression"


def calculate(expression):
    """The value of sums, products and quotients, read as a tree and never evaluated as Python."""
    try:
        if len(expression) > 200:
            raise ValueError("too long")
        value = _value(ast.parse(expression.strip(), mode="eval").body)
    except (SyntaxError, ValueError, ArithmeticError, RecursionError, MemoryError):
        return "cannot be calculated"
    return str(round(value)) if abs(value - round(value)) < 1e-9 else f"{value:.6g}"


def _value(node):
    if isinstance(node, ast.Constant) and type(node.value) in (int, float) and abs(node.value) < 1e12:
        return node.value
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        return OPERATORS[type(node.op)](_value(node.left), _value(node.right))
    if isinstance(node, ast.UnaryOp) and type(node.op) in OPERATORS:
        return OPERATORS[type(node.op)](_value(node.operand))
    raise ValueError("not arithmetic")
