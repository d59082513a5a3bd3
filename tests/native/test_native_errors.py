# ruff: noqa: RUF005, B007, F821, F842, F841, PLE0704
"""What is outside the subset is refused: each rule, its line, and the place in the line.

The line that an error must name ends in `# here`; what it must underline stands in the decorator.
"""

import ast
import inspect
import re
import traceback
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import pytest
from native_harness import compile_error, python

from tinamou.native import intrinsics, lower, memory
from tinamou.native.lower import CompileError, Hooks, Lower, Unit, Value, expressions, statements, values, writer
from tinamou.native.ops import clz, intrinsic, outlined, static_assert
from tinamou.native.types import Array, Struct, Word, i32, u8, u16, u32, u64

W = TypeVar("W", bound=Word)
CASES: list[tuple[Callable[..., Any], str, str, Hooks]] = []
LIST = [1, 2]
TEN = 10


class Silent(Hooks):
    """Raise is taken, but code goes on."""

    def raises(self, g: Lower, exception: type, args: list[Value]) -> None:
        pass


class Part(Struct):
    n: u8


class Thing(Struct):
    number: u64
    numbers: Annotated[Array[u32], 8]
    parts: Annotated[Array[Part], 2]
    other: Part


def broken(rule: str, at: str = "", hooks: Hooks | None = None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The function breaks this rule; `at` is the text that the error underlines."""

    def add(f: Callable[..., Any]) -> Callable[..., Any]:
        CASES.append((f, rule, at, hooks or Hooks()))
        return f

    return add


# -- words and plain numbers


@broken("a u8 where a u16 is needed: convert it", "a + b")
def mixed_widths(a: u16, b: u8) -> u16:
    return a * (a + b)  # here


@broken("a u64 where a bool is needed: convert it", "return a")
def word_as_bool(a: u64) -> bool:
    return a  # here


@broken("'x' is no u64", "a + 'x'")
def text_as_word(a: u64) -> u64:
    return a + "x"  # here


@broken("None is no u64", "return")
def no_result(a: u64) -> u64:
    if a:
        return  # here
    return a


@broken("a tuple is no u64", "a + (a, b)")
def tuple_as_word(a: u64, b: u64) -> u64:
    return a + (a, b)  # here


@broken("a tuple is no u64", "return a, b")
def too_many_results(a: u64, b: u64) -> u64:
    return a, b  # here


@broken("3 stays an int in CPython: write u64(3)", "return 3")
def number_as_result(a: u64) -> u64:
    if a > 3:
        return a
    return 3  # here


@broken("twice(), x: 3 stays an int in CPython: write u64(3)", "twice(3, a)")
def number_as_argument(a: u64) -> u64:
    return twice(a, 3) + twice(3, a)  # here


def twice(x: u64, times: Any) -> u64:
    return x * times


@broken("5 stays an int in CPython: write u32(5)", "n = 5")
def number_assigned(a: u32) -> u32:
    n = a
    n = 5  # here
    return n


@broken("5 stays an int in CPython: write u32(5)", "n: u32 = 5")
def number_annotated(a: u32) -> u32:
    n: u32 = 5  # here
    return a + n


@broken("True stays an int in CPython: write u8(True)", "return True")
def truth_as_result(a: u8) -> u8:
    return True  # here


@broken("0 stays an int in CPython: write u8(0)", "a if a > 3 else 0")
def number_chosen(a: u8) -> u8:
    return a if a > 3 else 0  # here


@broken("3 stays an int in CPython: write u8(3)", "min(a, 3)")
def number_as_smallest(a: u8) -> u8:
    return min(a, 3)  # here


@broken("300 is outside u8", "a == 300")
def compared_outside(a: u8) -> bool:
    return a > 3 and a == 300  # here


@broken("-1 is outside u64", "a != -1")
def compared_negative(a: u64) -> bool:
    return a != -1  # here


@broken("256 is outside u8", "a % 256")
def divided_outside(a: u8) -> u8:
    return a % 256  # here


@broken("signed words divide by quot() and rem()", "a // 2")
def signed_division(a: i32) -> i32:
    return a // 2  # here


@broken("Pow is outside the subset", "a ** 2")
def power(a: u64) -> u64:
    return a ** 2  # here


@broken("Div is outside the subset", "a /= 2")
def true_division(a: u64) -> u64:
    a /= 2  # here
    return a


@broken("arithmetic is on words and constants", "(a > 3) + (a > 4)")
def bools_added(a: u64) -> u64:
    return u64((a > 3) + (a > 4))  # here


@broken("arithmetic is on words and constants", "~(a > 3)")
def bool_inverted(a: u64) -> bool:
    return ~(a > 3)  # here


@broken("a constant is shifted by a constant, or give it a width", "1 << a")
def number_shifted(a: u64) -> u64:
    return a | 1 << a  # here


@broken("shift by -1", "a << -1")
def negative_shift(a: u64) -> u64:
    return a << -1  # here


@broken("shift amounts are words or integers", "a << (a > 3)")
def bool_shift(a: u64) -> u64:
    return a << (a > 3)  # here


@broken("u8() converts words, bools and integer constants", "u8(thing)")
def structure_converted(thing: Thing) -> u8:
    return u8(thing)  # here


@broken("TypeError: int() argument must be a string, a bytes-like object or a real number, not 'NoneType'", "u8(None)")
def none_converted(a: u8) -> u8:
    return a + u8(None)  # here


@broken("u8() takes one value", "u8(a, 3)")
def two_converted(a: u64) -> u8:
    return u8(a, 3)  # here


@broken("Word is not bound to a type", "Word(a)")
def unbound(a: u64) -> u64:
    return Word(a)  # here


@broken("a word has no bit_length in compiled code", "a.bit_length")
def int_method(a: u64) -> u64:
    return u64(a.bit_length())  # here


@broken("a word is needed: give the constant a width", "clz(5)")
def clz_of_number(a: u64) -> u64:
    return a + clz(5)  # here


# -- truth


@broken("this and/or gives a word or number in CPython, not a bool: compare it with 0", "a and b")
def and_of_words(a: u64, b: u64) -> u64:
    return u64(a and b)  # here


@broken("this and/or gives a word or number in CPython, not a bool: compare it with 0", "a > 3 or 5")
def or_of_number(a: u64) -> u64:
    return u64(a > 3 or 5)  # here


@broken("only words, bools and constants are true or false", "if thing.other:")
def structure_as_truth(thing: Thing) -> u64:
    if thing.other:  # here
        return u64(1)
    return u64(0)


@broken("is and in compare constants", "a is b")
def identity(a: u64, b: u64) -> bool:
    return a is b  # here


@broken("comparisons are between words", "thing == thing.other")
def structures_compared(thing: Thing) -> bool:
    return thing == thing.other  # here


@broken("one side of a conditional expression must be a word: give the constant a width", "1 if a > 3 else 2")
def numbers_chosen(a: u64) -> u64:
    return a + (1 if a > 3 else 2)  # here


# -- names


@broken("nowhere has no value here", "nowhere")
def unknown_name(a: u64) -> u64:
    return a + nowhere  # here


@broken("k depends on the way that leads here: give it a width at its first assignment", "k")
def two_constants(a: u64) -> u64:
    if a > 3:
        k = 1
    else:
        k = 2
    return u64(k)  # here


@broken("k depends on the way that leads here: give it a width at its first assignment", "k")
def constant_or_word(a: u64) -> u64:
    k = 5
    if a > 3:
        k = a
    return a + k  # here


@broken("k depends on the way that leads here: give it a width at its first assignment", "k")
def broken_off(a: u64) -> u64:
    for k in range(4):
        if a == k:
            break
    return u64(k)  # here


@broken("n depends on the way that leads here: give it a width at its first assignment", "n")
def skipped(a: u64) -> u64:
    n = 0
    for k in range(4):
        if a == k:
            continue
        n = n + 1  # here
    return a + n


@broken("p depends on the way that leads here: give it a width at its first assignment", "p")
def two_structures(thing: Thing, a: u64) -> u8:
    if a > 3:
        p = thing.parts[0]
    else:
        p = thing.parts[1]
    return p.n  # here


@broken("i depends on the way that leads here: give it a width at its first assignment", "i")
def counted_maybe(a: u64) -> u64:
    i = a
    for i in range(a & 7):
        pass
    return i  # here


@broken("n changes at run time but is a constant: give it a width at its first assignment", "n += 1")
def counts_with_a_number(a: u64) -> u64:
    n = 0
    while a:
        a >>= 1
        n += 1  # here
    return a + n


@broken("n changes at run time but is a constant: give it a width at its first assignment", "n = a")
def word_for_a_number(a: u64) -> u64:
    n = 0
    for i in range(a):
        a += u64(i) + n
        n = a  # here
    return a


@broken("the variable of a loop is an int in CPython: give it a width, u64(i), before computing with it", "i - 1")
def counted_computed(a: u64) -> u64:
    n = u64(0)
    for i in range(a):
        n += u64(i - 1)  # here
    return n


@broken("the variable of a loop is an int in CPython: give it a width, u64(i), before computing with it", "-i")
def counted_negated(a: u64) -> u64:
    n = u64(0)
    for i in range(a):
        n += u64(-i)  # here
    return n


@broken("the variable of a loop is an int in CPython: write u64(...)", "return i")
def counted_returned(a: u64) -> u64:
    for i in range(a):
        return i  # here
    return a


# -- attributes and elements


@broken("Thing has no colour", "thing.colour")
def no_such_field(thing: Thing) -> u64:
    return thing.colour  # here


@broken("no attribute y of this value", "thing.numbers.y")
def attribute_of_array(thing: Thing) -> u32:
    return thing.numbers.y  # here


@broken("AttributeError: 'list' object has no attribute 'nothing'", "LIST.nothing")
def attribute_of_constant(a: u64) -> u64:
    return a + LIST.nothing  # here


@broken("the index is not provably below 8: mask it", "thing.numbers[a]")
def index_unknown(thing: Thing, a: u64) -> u32:
    return thing.numbers[a & 7] + thing.numbers[a]  # here


@broken("the index is not provably below 8: mask it", "thing.numbers[8]")
def index_outside(thing: Thing) -> u32:
    return thing.numbers[8]  # here


@broken("the index is not provably below 8: mask it", "thing.numbers[i32(a) >> 30]")
def index_negative(thing: Thing, a: u64) -> u32:
    return thing.numbers[i32(a) >> 30]  # here


@broken("IndexError: list index out of range", "LIST[2]")
def constant_index(a: u64) -> u64:
    return a + LIST[2]  # here


@broken("constants are indexed by constants", "LIST[a]")
def constant_indexed(a: u64) -> u64:
    return a + LIST[a]  # here


@broken("only arrays and constants are indexed", "thing[0]")
def structure_indexed(thing: Thing) -> u64:
    return thing[0]  # here


@broken("Slice is outside the subset", "0:2")
def slices(thing: Thing) -> u32:
    return thing.numbers[0:2]  # here


@broken("number is no word of Part", "thing.other.number = a")
def assigns_no_field(thing: Thing, a: u64) -> None:
    thing.other.number = a  # here


@broken("bits is no word of u64", "a.bits = 3")
def assigns_attribute(a: u64) -> None:
    a.bits = 3  # here


@broken("only fields of structures are assigned", "LIST.x = a")
def assigns_attribute_of_constant(a: u64) -> None:
    LIST.x = a  # here


@broken("a u64 where a u32 is needed: convert it", "thing.numbers[0] = a")
def assigns_wrong_width(thing: Thing, a: u64) -> None:
    thing.numbers[0] = a  # here


@broken("constants are not changed", "LIST[0] += 1")
def assigns_constant(a: u64) -> None:
    LIST[0] += 1  # here


@broken("structures are not assigned as a whole", "thing.parts[0] = thing.other")
def assigns_structure(thing: Thing) -> None:
    thing.parts[0] = thing.other  # here


# -- calls


@broken("only functions are called", "a(3)")
def calls_word(a: u64) -> u64:
    return a(3)  # here


@broken("len() is called with a value known only at run time", "len(a)")
def builtin_with_word(a: u64) -> u64:
    return a + len(a)  # here


@broken("ValueError: invalid literal for int() with base 10: 'x'", "int('x')")
def builtin_fails(a: u64) -> u64:
    return a + int("x")  # here


@broken("twice() takes 2 arguments", "twice(a, a, a)")
def too_many(a: u64) -> u64:
    return twice(a, a, a)  # here


@broken("twice() lacks the argument times", "twice(a)")
def too_few(a: u64) -> u64:
    return twice(a)  # here


@broken("twice() has no parameter by", "twice(a, times=3, by=1)")
def no_such_parameter(a: u64) -> u64:
    return twice(a, times=3, by=1)  # here


@broken("twice(), x: a u8 where a u64 is needed: convert it", "twice(a, 1)")
def wrong_argument(a: u8) -> u64:
    return twice(a, 1)  # here


@broken("Starred is outside the subset", "*LIST")
def starred(a: u64) -> u64:
    return twice(*LIST)  # here


@broken("* and ** in calls are outside the subset", "twice(a, **EMPTY)")
def double_starred(a: u64) -> u64:
    return twice(a, **EMPTY)  # here


EMPTY: dict[str, Any] = {}


@broken("with_rest() has parameters other than plain ones", "with_rest(a, a)")
def calls_with_rest(a: u64) -> u64:
    return with_rest(a, a)  # here


def with_rest(x: u64, *rest: u64) -> u64:
    return x


@broken("<lambda> is no function made by def", "ADD(a)")
def calls_lambda(a: u64) -> u64:
    return ADD(a)  # here


ADD = lambda x: x + 1  # noqa: E731


@broken("unwritten() has no source text", "unwritten(a)")
def calls_without_source(a: u64) -> u64:
    return unwritten(a)  # here


exec("def unwritten(x): return x")


@broken("an annotation of misnamed(): name 'u65' is not defined", "misnamed(a)")
def calls_misnamed(a: u64) -> u64:
    return misnamed(a)  # here


def misnamed(x: "u65") -> u64:
    return x


@broken("unsupplied() has no compiled form here", "unsupplied(a)")
def calls_unsupplied(a: u64) -> u64:
    return unsupplied(a)  # here


@intrinsic
def unsupplied(x: u64) -> u64:
    return x


@broken("grows() expands into itself", "grows(x - 1)")
def calls_recursive(a: u64) -> u64:
    return grows(a)


def grows(x: u64) -> u64:
    return grows(x - 1) if x > 3 else x  # here


@broken("fibonacci() calls itself", "fibonacci(x - 1)")
def calls_outlined_recursive(a: u64) -> u64:
    return fibonacci(a)


@outlined
def fibonacci(x: u64) -> u64:
    if x < 2:
        return x
    return fibonacci(x - 1) + fibonacci(x - 2)  # here


@broken("chosen() is specialised for its constant arguments, which must be hashable", "chosen(LIST, a)")
def unhashable(a: u64) -> u64:
    return chosen(LIST, a)  # here


@outlined
def chosen(of: Any, x: u64) -> u64:
    return x + len(of)


@broken("parameter of has no type for compiled code", "of")
def parameter_without_type(a: u64) -> u64:
    return untyped(a, (a, a))


@outlined
def untyped(x: u64, of) -> u64:  # here
    return x


@broken("max() is of words", "max(thing, thing.other)")
def structures_largest(thing: Thing) -> u64:
    return max(thing, thing.other)  # here


@broken("static_assert() is of constants", "static_assert(a > 3, '')")
def static_of_word(a: u64) -> u64:
    static_assert(a > 3, "")  # here
    return a


@broken("words have 8 bits here", "static_assert(a.bits == 8, f'words have {8} bits here')")
def static_fails(a: u64) -> u64:
    static_assert(a.bits == 8, f"words have {8} bits here")  # here
    return a


@broken("the first argument is a word type known at compile time", "memory.peek(Word, a)")
def peek_of_what(a: u64) -> u64:
    return memory.peek(Word, a)  # here


@broken("atomic operations are swap, add, and, or, xor, min, max", "memory.exchange('nand', u64, a, a)")
def no_such_atomic(a: u64) -> u64:
    return memory.exchange("nand", u64, a, a)  # here


@broken("only constants are put into strings")
def formatted_word(a: u64) -> u64:
    return a + len(f"{a}")  # here


# -- results


@broken("falls_off() can end without a result", "def falls_off(a: u64) -> u64:")
def falls_off(a: u64) -> u64:  # here
    while a:
        if a == 7:
            return a
        a -= 1


@broken("maybe_five() can end without a result", "def maybe_five(x: u64) -> Any:")
def inlined_falls_off(a: u64) -> u64:
    return a + maybe_five(a)


def maybe_five(x: u64) -> Any:  # here
    if x > 3:
        return 5


@broken("different constants are returned on different paths: give the result a width", "return 6")
def two_results(a: u64) -> u64:
    return a + five_or_six(a)


def five_or_six(x: u64) -> Any:
    if x > 3:
        return 5
    return 6  # here


@broken("2 results are promised", "return a")
def one_of_two(a: u64) -> tuple[u64, u64]:
    return a  # here


@broken("the function's result needs an annotation: tuple[u64, ...]", "return x, 5")
def unannotated_tuple(a: u64) -> u64:
    b, c = pair(a)
    return b + c


def pair(x: u64):
    return x, 5  # here


# -- statements


@broken("a declaration without a value is outside the subset", "n: u64")
def declaration(a: u64) -> u64:
    n: u64  # here
    return a


@broken("2 values are unpacked from something else", "b, c = a")
def unpacks_word(a: u64) -> u64:
    b, c = a  # here
    return b + c


@broken("2 values are unpacked from something else", "b, c = (a, a, a)")
def unpacks_three(a: u64) -> u64:
    b, c = (a, a, a)  # here
    return b + c


@broken("Starred is not assigned in the subset", "b, *c = (a, a)")
def unpacks_rest(a: u64) -> u64:
    b, *c = (a, a)  # here
    return b


@broken("else after a loop is outside the subset", "while a:")
def while_else(a: u64) -> u64:
    while a:  # here
        a -= 1
    else:
        a = u64(3)
    return a


@broken("for loops count one name, without else", "for b, c in PAIRS:")
def for_pairs(a: u64) -> u64:
    for b, c in PAIRS:  # here
        a += b * c
    return a


PAIRS = ((1, 2), (3, 4))


@broken("for goes over range() or a constant", "for n in thing.numbers:")
def for_over_array(thing: Thing) -> u32:
    m = u32(0)
    for n in thing.numbers:  # here
        m += n
    return m


@broken("the step of a run-time range is a positive constant", "for i in range(a, 0, -1):")
def for_down(a: u64) -> u64:
    for i in range(a, 0, -1):  # here
        a += u64(i)
    return a


@broken("range() counts words", "for i in range(a > 3):")
def for_bool(a: u64) -> u64:
    for i in range(a > 3):  # here
        a += u64(i)
    return a


@broken("-1 is outside u64", "for i in range(-1, a):")
def for_from_negative(a: u64) -> u64:
    for i in range(-1, a):  # here
        a += u64(i)
    return a


@broken("guards are outside the subset", "match a:")
def match_guard(a: u64) -> u64:
    match a:  # here
        case 3 if a > 2:
            return a
    return a


@broken("match is on words and constants", "match thing:")
def match_structure(thing: Thing) -> u64:
    match thing:  # here
        case 3:
            return u64(1)
    return u64(0)


@broken("300 is no u8", "300")
def match_outside(a: u8) -> u8:
    match a:
        case 3:
            return u8(1)
        case 300:  # here
            return u8(2)
    return a


@broken("cases are constants or _", "match a:")
def match_capture(a: u64) -> u64:
    match a:  # here
        case [b]:
            return b
    return a


@broken("raise names an exception and its arguments", "raise")
def raises_again(a: u64) -> u64:
    if a:
        raise  # here
    return a


@broken("raise names an exception class", "raise TEN")
def raises_number(a: u64) -> u64:
    if a:
        raise TEN  # here
    return a


@broken("nothing here defines what raise means", "raise ValueError(a)")
def raises(a: u64) -> u64:
    if a:
        raise ValueError(a)  # here
    return a


@broken("code goes on after raise", "raise ValueError(a)", Silent())
def raises_silently(a: u64) -> u64:
    if a:
        raise ValueError(a)  # here
    return a


def statement(name: str, text: str, at: str = "") -> None:
    """A statement that the subset lacks altogether."""
    first, line, rest = text.partition("\n")
    source = f"def {name}_statement(a: u64) -> u64:\n    {first}  # here{line}{rest}\n    return a\n"
    CASES.append((python(source, f"{name}_statement", u64=u64), f"{name} is outside the subset", at, Hooks()))


statement("Try", "try: a += 1\n    except ValueError: pass")
statement("With", "with a: pass")
statement("Delete", "del a")
statement("FunctionDef", "def f(): pass")
statement("ClassDef", "class C: pass")
statement("Import", "import sys")
statement("ImportFrom", "from sys import path")
statement("Global", "global b")
statement("AsyncFunctionDef", "async def f(): pass")
statement("Lambda", "f = lambda: a", "lambda: a")
statement("ListComp", "f = [b for b in (1, 2)]", "[b for b in (1, 2)]")
statement("Dict", "f = {1: a}", "{1: a}")
statement("List", "f = [a]", "[a]")
statement("Set", "f = {a}", "{a}")
statement("NamedExpr", "f = (b := a)", "b := a")
statement("Yield", "yield a", "yield a")
statement("GeneratorExp", "f = (b for b in (1, 2))", "(b for b in (1, 2))")


@pytest.mark.parametrize(("f", "rule", "at", "hooks"), CASES, ids=[c[0].__name__ for c in CASES])
def test_rule(f: Callable[..., Any], rule: str, at: str, hooks: Hooks) -> None:
    error = compile_error(f, hooks)
    assert error.msg == rule
    assert error.lineno and error.offset and error.text
    assert error.text.rstrip().endswith("# here")
    if at:
        end = error.end_offset - 1 if error.end_offset else None  # the first line of a compound statement has none
        underlined = error.text[error.offset - 1 : end].partition("  #")[0]
        assert re.sub(r"""[ "']""", "", underlined) == re.sub(r"""[ "']""", "", at)


def test_every_rule_has_a_case() -> None:
    """All messages that the compiler's source can give, but those for what only a program beside it can do wrong."""
    seen = [rule for _, rule, _, _ in CASES]
    missing = []
    for module in (expressions, statements, values, writer, lower, intrinsics):
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Broken" and node.args:
                text = node.args[0]
                if isinstance(text, ast.Constant):
                    pattern = re.escape(text.value)
                elif isinstance(text, ast.JoinedStr):
                    pattern = "".join(re.escape(p.value) if isinstance(p, ast.Constant) else ".+" for p in text.values)
                else:
                    continue
                if not any(re.fullmatch(pattern, rule) for rule in seen):
                    missing.append(pattern.replace("\\", ""))
    assert missing == ["two functions are called .+"]


def test_reads_like_python() -> None:
    """The same form as a SyntaxError's, with the way that led there below."""
    error = compile_error(calls_outlined_recursive)
    line = inspect.getsourcelines(fibonacci)[1] + 4
    inner = inspect.getsourcelines(calls_outlined_recursive)[1] + 2
    assert isinstance(error, SyntaxError)
    shown = "".join(traceback.format_exception_only(error)).splitlines()
    assert shown[:3] == [
        f'  File "{__file__}", line {line}',
        "    return fibonacci(x - 1) + fibonacci(x - 2)  # here",
        "           ^^^^^^^^^^^^^^^^",
    ]
    assert shown[3] == "tinamou.native.lower.CompileError: fibonacci() calls itself"
    error = compile_error(number_as_argument_deep)
    shown = "".join(traceback.format_exception_only(error)).splitlines()
    inner = inspect.getsourcelines(deeper)[1] + 1
    outer = inspect.getsourcelines(number_as_argument_deep)[1] + 1
    assert shown[-1] == f'  expanded from File "{__file__}", line {outer}, in number_as_argument_deep'
    assert shown[0] == f'  File "{__file__}", line {inner}'


def number_as_argument_deep(a: u64) -> u64:
    return deeper(a)


def deeper(x: u64) -> u64:
    return x + u8(x)


def test_nothing_is_left_half_done() -> None:
    """After an error the unit compiles other functions."""
    unit = Unit(Hooks())
    with pytest.raises(CompileError):
        unit.export(number_as_argument_deep)

    def fine(a: u64) -> u64:
        return a + 1

    unit.export(fine)
    assert "@fine(" in unit.text("x")
