"""A synthetic log of several services, with odd lines planted in it; all of it follows from a seed.

The seed draws the header, the services with their rhythm over the day, and the message templates of each service, from word
lists and kinds of values. Logs of two seeds have few templates in common. Ten lines of each of five `KINDS` are odd.
"""

import datetime
import math
import random
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import NamedTuple

DAY = 86_400  # seconds
FIRST_DAY = datetime.datetime(2026, 3, 2, tzinfo=datetime.UTC)
KINDS = ("new template", "wrong word", "wrong value", "wrong order", "strange characters")
NUM_SERVICES, TEMPLATES_PER_SERVICE = (6, 9), (5, 10)  # least and most


def words(text: str) -> list[str]:
    """Split a list of words."""
    return text.split()


SERVICES = words(
    "gateway auth billing search mailer scheduler inventory checkout storage metrics notifier ledger crawler catalog session "
    "profile backup router"
)
NOUNS = words(
    "request session payment order invoice message job batch index document shard replica snapshot connection certificate "
    "token account cart shipment upload download report queue worker lease lock cache bucket record partition transaction "
    "webhook coupon refund template image thumbnail heartbeat route policy quota subscription event stream cursor volume "
    "backup manifest"
)
VERBS = words(
    "accepted rejected started finished created deleted updated refreshed expired queued delivered retried indexed "
    "compacted verified signed issued revoked opened closed loaded stored flushed merged split moved archived restored "
    "scheduled released acquired forwarded throttled resolved validated encoded rotated synchronised assigned completed"
)
ADVERBS = words("successfully again late early twice partially automatically manually")
SYLLABLES = words("an bel cor da el fi gar hu is jo ka lo mi no or pa qui ra sol ta ul vi wen xa yo zel")
LEVELS = ("INFO", "DEBUG", "WARN", "ERROR")
STATUSES, STATUS_WEIGHTS = ("200", "201", "204", "301", "304", "400", "403", "404", "500"), (60, 8, 5, 3, 8, 4, 3, 7, 2)
# How a value stands in a message: what comes before it, and after it.
AROUND = {
    "hex": ("id=", ""),
    "serial": ("number ", ""),
    "user": ("by user ", ""),
    "path": ("at ", ""),
    "bytes": ("size ", " bytes"),
    "milliseconds": ("in ", " ms"),
    "status": ("with status ", ""),
    "address": ("from ", ""),
    "percent": ("load ", "%"),
    "count": ("attempt ", ""),
    "host": ("on ", ""),
    "version": ("version ", ""),
}
NUMERIC = ("serial", "bytes", "milliseconds", "status", "percent", "count", "address")
FOREIGN = "жшщюяфыэдлбгπσωλθξψ水火山川木金土日月あいうえおかきくけ"
BINARY = [chr(code) for code in (*range(1, 9), *range(14, 32), *range(127, 256)) if code != 0x85]


class Part(NamedTuple):
    """A piece of a line: constant words, or a value of a kind."""

    kind: str  # "time", "head", "words", or one in `AROUND`
    text: str


class Template(NamedTuple):
    """A message with places for values."""

    level: str
    words: str
    values: tuple[str, ...]  # kinds
    scale: float  # of sizes and durations


class Service(NamedTuple):
    """A service, and when it writes."""

    name: str
    weight: float
    swing: float  # how much its rate changes over the day: 0 = not at all
    peak: float  # second of the day
    templates: tuple[Template, ...]
    template_weights: tuple[float, ...]  # cumulative


class World(NamedTuple):
    """All that lines are made from."""

    header: int
    services: tuple[Service, ...]
    users: tuple[str, ...]
    paths: tuple[str, ...]
    hosts: tuple[str, ...]


class Log(NamedTuple):
    """Lines without their line ends, and the kind of each odd one by its index."""

    lines: list[str]
    planted: dict[int, str]


def write_log(seed: int, num_lines: int, first_odd: int, odd_per_kind: int = 10) -> Log:
    """Write a log.

    Args:
      first_odd: the index of the first line that may be odd.
      odd_per_kind: number of odd lines of each of the `KINDS`.
    """
    chance = random.Random(f"jaxrnn log {seed}")
    world = draw_world(chance)
    made = [parts for _, parts in zip(range(num_lines), normal_lines(world, chance), strict=False)]
    lines, planted = [join(parts) for parts in made], {}
    for kind in KINDS:
        for _ in range(odd_per_kind):
            while True:
                at = first_odd + int(chance.random() * (num_lines - first_odd))
                odd = PLANT[kind](world, made[at], chance) if at not in planted else None
                if odd is not None and odd != lines[at]:
                    break
            lines[at], planted[at] = odd, kind
    return Log(lines, dict(sorted(planted.items())))


def draw_world(chance: random.Random) -> World:
    """Draw services, templates and pools of values."""
    names = chance.sample(SERVICES, chance.randint(*NUM_SERVICES))
    nouns, verbs = chance.sample(NOUNS, 30), chance.sample(VERBS, 25)
    users = tuple(sorted({"".join(chance.choices(SYLLABLES, k=2)) + str(chance.randint(1, 99)) for _ in range(150)}))
    roots = chance.sample(NOUNS, 8)
    paths = tuple(f"/{root}s{tail}" for root in roots for tail in ("", "/{}", "/{}/" + chance.choice(NOUNS)))
    hosts = tuple(f"{name}-{i}" for name in chance.sample(("db", "web", "node", "cell", "rack"), 2) for i in range(1, 5))
    services = tuple(_draw_service(name, nouns, verbs, chance) for name in names)
    return World(chance.randrange(3), services, users, paths, hosts)


def _draw_service(name: str, nouns: Sequence[str], verbs: Sequence[str], chance: random.Random) -> Service:
    templates = tuple(draw_template(nouns, verbs, chance) for _ in range(chance.randint(*TEMPLATES_PER_SERVICE)))
    weights = tuple(accumulate(0.15 + chance.random() ** 3 for _ in templates))
    return Service(name, 0.3 + chance.random(), 0.95 * chance.random(), DAY * chance.random(), templates, weights)


def draw_template(nouns: Sequence[str], verbs: Sequence[str], chance: random.Random) -> Template:
    """Draw a message: noun and verb, sometimes an adverb, and one to three values."""
    words = f"{chance.choice(nouns)} {chance.choice(verbs)}"
    if chance.random() < 0.25:
        words += f" {chance.choice(ADVERBS)}"
    level = chance.choices(LEVELS, (70, 12, 12, 6))[0]
    return Template(level, words, tuple(chance.sample(list(AROUND), chance.randint(1, 3))), 10 ** (1 + 3 * chance.random()))


def normal_lines(world: World, chance: random.Random):
    """Yield lines in parts, one after the other, without end; about 100,000 in a little under a day."""
    pids, serials = ([chance.randint(300, 32_000) for _ in world.services] for _ in range(2))
    seconds, per_second = 0.0, 105_000 / DAY / sum(service.weight for service in world.services)
    while True:
        rates = [
            each.weight * (1 + each.swing * math.cos(2 * math.pi * (seconds - each.peak) / DAY)) for each in world.services
        ]
        seconds += chance.expovariate(per_second * sum(rates))
        at = chance.choices(range(len(rates)), rates)[0]
        service = world.services[at]
        if chance.random() < 2e-5:
            pids[at] = chance.randint(300, 32_000)  # it was started again
        serials[at] += 1
        template = chance.choices(service.templates, cum_weights=service.template_weights)[0]
        yield [*head(world, service, pids[at], template.level, seconds), *body(world, template, serials[at], chance)]


def head(world: World, service: Service, pid: int, level: str, seconds: float) -> list[Part]:
    """Make the parts of a line's header."""
    time = FIRST_DAY + datetime.timedelta(seconds=seconds)
    if world.header == 0:
        return [Part("time", f"{time:%Y-%m-%d %H:%M:%S}"), Part("head", level), Part("head", f"{service.name}[{pid}]:")]
    if world.header == 1:
        return [Part("time", f"{time:%b %d %H:%M:%S}"), Part("head", f"{service.name}[{pid}]:"), Part("head", level)]
    stamp = f"[{time:%d/%b/%Y:%H:%M:%S}.{time.microsecond // 1000:03}]"
    return [Part("time", stamp), Part("head", f"{service.name}/{pid}"), Part("head", f"<{level.lower()}>")]


def body(world: World, template: Template, serial: int, chance: random.Random) -> list[Part]:
    """Make the parts of a message."""
    values = [Part(kind, value_of(world, kind, template.scale, serial, chance)) for kind in template.values]
    return [Part("words", template.words), *values]


def value_of(world: World, kind: str, scale: float, serial: int, chance: random.Random) -> str:
    """Draw a value."""
    match kind:
        case "hex":
            value = f"{chance.getrandbits(32):08x}"
        case "serial":
            value = str(100_000 + serial)
        case "user":
            value = world.users[int(len(world.users) * chance.random() ** 2)]
        case "path":
            value = world.paths[int(len(world.paths) * chance.random() ** 1.5)].format(chance.randint(1, 999))
        case "bytes" | "milliseconds":
            value = str(max(1, min(999_999, round(scale * chance.lognormvariate(0, 0.7)))))
        case "status":
            value = chance.choices(STATUSES, STATUS_WEIGHTS)[0]
        case "address":
            value = f"10.0.{chance.randint(0, 3)}.{chance.randint(1, 254)}"
        case "percent":
            value = str(chance.randint(0, 100))
        case "count":
            value = str(chance.choices((1, 2, 3, 4, 5), (60, 20, 10, 6, 4))[0])
        case "host":
            value = chance.choice(world.hosts)
        case _:
            value = f"v2.3.{chance.randint(0, 4)}"
    return value


def join(parts: Sequence[Part]) -> str:
    """Write a line."""
    return " ".join(part.text if part.kind not in AROUND else part.text.join(AROUND[part.kind]) for part in parts)


def _new_template(world: World, parts: list[Part], chance: random.Random) -> str:
    """Give a known service a message that it never wrote."""
    known = {template.words for service in world.services for template in service.templates}
    template = draw_template(NOUNS, VERBS, chance)
    while template.words in known:
        template = draw_template(NOUNS, VERBS, chance)
    at = next(i for i, part in enumerate(parts) if part.kind == "words")
    return join([*parts[:at], *body(world, template, 50_000, chance)])


def _wrong_word(world: World, parts: list[Part], chance: random.Random) -> str:
    """Replace one word of the message by another, or by a misspelling of it."""
    del world
    at = next(i for i, part in enumerate(parts) if part.kind == "words")
    words = parts[at].text.split()
    which = chance.randrange(len(words))
    if chance.random() < 0.5:
        words[which] = chance.choice([*NOUNS, *VERBS])
    else:
        i, letter = chance.randrange(1, len(words[which]) - 1), chance.choice("abcdefghijklmnopqrstuvwxyz")
        before, after = words[which][:i], words[which][i:]
        words[which] = chance.choice(
            (before + after[1:], before + letter + after[1:], before + after[1] + after[0] + after[2:])
        )
    return join([*parts[:at], Part("words", " ".join(words)), *parts[at + 1 :]])


def _wrong_value(world: World, parts: list[Part], chance: random.Random) -> str | None:
    """Make one value negative, far too large, or of the wrong form."""
    del world
    places = [i for i, part in enumerate(parts) if part.kind in NUMERIC]
    if not places:
        return None
    at = chance.choice(places)
    value = parts[at].text
    letters = "".join(chance.choices("ghkmpqrstuvwxyz", k=2))
    i = chance.randrange(len(value))
    wrong = chance.choice((f"-{value}", value + "0" * 7, value[:i] + letters + value[i + 1 :], "NaN"))
    return join([*parts[:at], Part(parts[at].kind, wrong), *parts[at + 1 :]])


def _wrong_order(world: World, parts: list[Part], chance: random.Random) -> str:
    """Swap two parts, or cut the line off."""
    del world
    if chance.random() < 0.5:
        i = chance.randrange(len(parts) - 1)
        return join([*parts[:i], parts[i + 1], parts[i], *parts[i + 2 :]])
    line = join(parts)
    return line[: chance.randrange(8, len(line) * 3 // 4)]


def _strange_characters(world: World, parts: list[Part], chance: random.Random) -> str:
    """Overwrite a piece of the line with characters of another script, or with binary garbage."""
    del world
    line, size = join(parts), chance.randint(1, 12)
    at = chance.randrange(len(line) - size)
    return line[:at] + "".join(chance.choices(chance.choice((FOREIGN, BINARY)), k=size)) + line[at + size :]


PLANT: dict[str, Callable[[World, list[Part], random.Random], str | None]] = dict(
    zip(KINDS, (_new_template, _wrong_word, _wrong_value, _wrong_order, _strange_characters), strict=True)
)
