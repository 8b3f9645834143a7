// A session as a story: events become items, one for each thing that a person would tell. What comes later or is
// loaded earlier is taken in without looking again at what is there. No DOM, no clock.

import { isPrivate, kind, label, type NEvent, number, RECORDS, tag, tags, value } from "../nostr/records";

/** What an item is. `quiet` are steps on the way: calls of the model, files that were read. */
export type ItemKind =
  | "asked"
  | "started"
  | "said"
  | "result"
  | "ran"
  | "quiet"
  | "file"
  | "many"
  | "point"
  | "undo"
  | "problem"
  | "differs"
  | "question"
  | "answer"
  | "serve"
  | "network"
  | "control"
  | "ended"
  | "gap"
  | "other";

/** One thing that happened. `at` is where its first event stands (see `Story.event`), `to` its last. */
export interface Item {
  /** Its name in this story, for as long as the page is open. */
  key: number;
  kind: ItemKind;
  at: number;
  to: number;
  /** The kinds of step that it belongs to, see `Sort`. */
  sorts: number;
  /** How tall it may be, in pixels, before it was drawn. */
  height: number;
}

/** Kinds of step, for filters; an item can be of several. */
export const Sort = { talk: 1, commands: 2, files: 4, points: 8, problems: 16, model: 32 } as const;
export type SortName = keyof typeof Sort;
export const SORTS = Object.keys(Sort) as SortName[];

/** What a session came to so far. */
export interface Totals {
  calls: number;
  tokensIn: number;
  tokensOut: number;
  microusd: number;
  /** Calls whose price is not known. */
  unpriced: number;
  modelMs: number;
  /** How long turns took, from what was asked to what was answered; without those, how long commands took. */
  turnMs: number;
  commandMs: number;
  added: number;
  removed: number;
  commands: number;
  points: number;
  problems: number;
  unclaimed: number;
}

/** What changed in a story when events were taken in. */
export type Change = "none" | "appended" | "inserted" | "both" | "anew";

/** Lines up to which a change is shown without being asked for. */
export const SHOWN_AT_ONCE = 60;
/** Characters by which a text is known again. */
const SAME = 2_000;
/** A quiet item tells of no more steps than this; then another begins. */
const QUIET = 60;

export class Story {
  items: Item[] = [];
  counts: Record<SortName, number> = { talk: 0, commands: 0, files: 0, points: 0, problems: 0, model: 0 };
  totals: Totals = emptyTotals();
  /** Paths that changed, with their lines. */
  paths = new Map<string, [number, number]>();
  /** Events taken in, in order. */
  private events: NEvent[] = [];
  /** Where the first of them stands: earlier ones come before 0. */
  private first = 0;
  /** Answers by the question that they answer. */
  private answers = new Map<string, NEvent>();
  /** How many facts name a claim. */
  private facts = new Map<string, number>();
  /** The numbers of checkpoints by their commits. */
  private commits = new Map<string, number>();
  /** The first record of each checkpoint; before and after an undo the same state is recorded again. */
  private firsts = new Map<string, string>();
  private repeats = new Set<string>();
  private nextKey = 0;

  /** The event that stands somewhere. */
  event(at: number): NEvent | undefined {
    return this.events[at - this.first];
  }

  /** How many events there are. */
  get size(): number {
    return this.events.length;
  }

  get start(): number {
    return this.first;
  }

  get end(): number {
    return this.first + this.events.length;
  }

  get last(): NEvent | undefined {
    return this.events[this.events.length - 1];
  }

  /** The events of an item. */
  of(item: Item): NEvent[] {
    return this.events.slice(item.at - this.first, item.to + 1 - this.first);
  }

  answerTo(question: NEvent): NEvent | undefined {
    return this.answers.get(question.id);
  }

  /** Whether what really changed was found to be as a claim says. */
  isKept(claim: NEvent): boolean {
    return this.facts.has(claim.id);
  }

  /** The number of the checkpoint with this commit. */
  pointOf(commit: string | undefined): number | undefined {
    return commit === undefined ? undefined : this.commits.get(commit);
  }

  /** Where an event with this id, or the beginning of it, stands. */
  find(id: string): number | undefined {
    const at = this.events.findLastIndex((event) => event.id.startsWith(id));
    return at < 0 ? undefined : at + this.first;
  }

  /** The item in which an event stands. */
  itemAt(at: number): number {
    let [low, high] = [0, this.items.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((this.items[middle]?.at ?? 0) <= at) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** Takes in the list as it is now: what was there, and what came at its end or was loaded somewhere before it. */
  take(now: NEvent[]): Change {
    const had = this.events;
    if (now === had || (now.length === 0 && had.length === 0)) return "none";
    let same = 0;
    while (same < had.length && now[same]?.id === had[same]?.id) same += 1;
    // The caller's list holds the same events; one list is enough.
    this.events = now;
    if (had.length > 0 && same === had.length) {
      if (now.length === had.length) return "none";
      this.build(this.first + same, this.end, this.items);
      return "appended";
    }
    const next = had[same]?.id;
    const at = next === undefined ? -1 : now.findIndex((event, n) => n > same && event.id === next);
    const rest = had.length - same;
    const split = this.items[this.itemAt(this.first + same)];
    const whole = split !== undefined && (split.at >= this.first + same || split.to < this.first + same);
    if (same + rest === 0 || at < 0 || now[at + rest - 1]?.id !== had[had.length - 1]?.id || !whole) {
      this.clear();
      this.build(this.first, this.end, this.items);
      return "anew";
    }
    this.insert(same, at - same);
    if (now.length === at + rest) return "inserted";
    this.build(this.first + at + rest, this.end, this.items);
    return "both";
  }

  private clear(): void {
    this.items = [];
    this.counts = { talk: 0, commands: 0, files: 0, points: 0, problems: 0, model: 0 };
    this.totals = emptyTotals();
    this.paths.clear();
    this.first = 0;
    this.answers.clear();
    this.facts.clear();
    this.commits.clear();
    this.firsts.clear();
    this.repeats.clear();
  }

  /** So many events are new, after the first `before`. */
  private insert(before: number, count: number): void {
    // Those before move to where there is room, so that all after them stay where they are.
    const split = before === 0 ? 0 : this.itemAt(this.first + before - 1) + 1;
    this.first -= count;
    const earlier = this.items.slice(0, split);
    for (const item of earlier) {
      item.at -= count;
      item.to -= count;
    }
    const later = this.items.slice(split);
    // Whether something is missing between the two is said anew.
    if (later[0]?.kind === "gap" && later[0].at === this.first + before + count) later.shift();
    this.build(this.first + before, this.first + before + count, earlier);
    this.gap(this.first + before + count, earlier);
    this.items = earlier.concat(later);
  }

  private build(from: number, end: number, into: Item[]): void {
    for (let at = from; at < end; at += 1) {
      const event = this.event(at);
      if (event === undefined) return;
      this.note(event);
      this.gap(at, into);
      const made = kindOf(event);
      if (made === undefined) continue;
      const sorts = sortsOf(made, event);
      if (this.repeats.has(event.id)) continue;
      if (made === "file" || made === "differs") this.fold(event, at, into);
      if (made === "ran" || made === "result") this.foldSaid(event, at, into);
      const open = into[into.length - 1];
      if (made === "quiet" && open?.kind === "quiet" && open.to === at - 1 && at - open.at < QUIET) {
        open.to = at;
        this.count(sorts & ~open.sorts);
        open.sorts |= sorts;
        continue;
      }
      this.count(sorts);
      into.push({ key: this.nextKey++, kind: made, at, to: at, sorts, height: heightOf(made, event) });
    }
  }

  /** A claim alone before what is known about it says nothing that this does not. */
  private fold(fact: NEvent, at: number, into: Item[]): void {
    const last = into[into.length - 1];
    const claim = last?.kind === "quiet" && last.at === at - 1 ? this.event(last.at) : undefined;
    if (last === undefined || claim === undefined) return;
    // "Says it wrote a.txt" and "The agent says it wrote a.txt, but nothing changed there."
    const said = (value(claim, "alt") ?? "").replace(/^S/, "s");
    if (claim.id !== value(fact, "claimed") && (fact.kind !== kind.error || !fact.content.includes(said))) return;
    for (const name of SORTS) if ((last.sorts & Sort[name]) !== 0) this.counts[name] -= 1;
    into.pop();
  }

  /** What a command wrote stands in its output, and what was withheld in the answer: neither is told twice. */
  private foldSaid(after: NEvent, at: number, into: Item[]): void {
    const last = into[into.length - 1];
    const said = last?.kind === "said" && last.at === at - 1 ? this.event(last.at) : undefined;
    if (last === undefined || said === undefined) return;
    const kept = withheld(said) !== undefined;
    const again =
      after.kind === kind.action
        ? tag(after, "cmd") !== undefined && (kept ? withheld(after) !== undefined : outputOf(after).startsWith(said.content.trim().slice(0, SAME)))
        : kept;
    if (!again) return;
    for (const name of SORTS) if ((last.sorts & Sort[name]) !== 0) this.counts[name] -= 1;
    into.pop();
  }

  private count(sorts: number): void {
    for (const name of SORTS) if ((sorts & Sort[name]) !== 0) this.counts[name] += 1;
  }

  /** Says it where records are missing before an event. */
  private gap(at: number, into: Item[]): void {
    const [before, after] = [this.event(at - 1), this.event(at)];
    if (before === undefined || after === undefined || !skips(before, after)) return;
    into.push({ key: this.nextKey++, kind: "gap", at, to: at - 1, sorts: 0, height: 44 });
  }

  /** What other items, and the sums, need to know of an event. */
  private note(event: NEvent): void {
    const totals = this.totals;
    if (event.kind === kind.checkpoint) {
      const [commit, point] = [value(event, "commit"), pointNumber(event)];
      const name = point === undefined ? event.id : `${value(event, "r")} ${commit}`;
      const first = this.firsts.get(name) ?? event.id;
      this.firsts.set(name, first);
      if (first !== event.id) {
        this.repeats.add(event.id);
        return;
      }
      totals.points += 1;
      if (commit !== undefined && point !== undefined) this.commits.set(commit, point);
    }
    if (event.kind === kind.error) totals.problems += 1;
    if (event.kind !== kind.action) return;
    switch (label(event)) {
      case "model": {
        totals.calls += 1;
        totals.tokensIn += number(event, "tokens", 1) ?? 0;
        totals.tokensOut += number(event, "tokens", 2) ?? 0;
        totals.modelMs += number(event, "ms") ?? 0;
        const cost = number(event, "microusd");
        if (cost === undefined) totals.unpriced += 1;
        else totals.microusd += cost;
        break;
      }
      case "file": {
        const claim = value(event, "claimed");
        if (claim !== undefined) this.facts.set(claim, (this.facts.get(claim) ?? 0) + 1);
        if (tag(event, "unclaimed") !== undefined) totals.unclaimed += 1;
        const [added, removed] = changedLines(event);
        totals.added += added;
        totals.removed += removed;
        const path = value(event, "path");
        if (path !== undefined) {
          const known = this.paths.get(path) ?? [0, 0];
          this.paths.set(path, [known[0] + added, known[1] + removed]);
        }
        break;
      }
      case "message":
        totals.turnMs += number(event, "ms") ?? 0;
        break;
      case "command":
        if (kindOf(event) === "ran") totals.commands += 1;
        if (tag(event, "cmd") !== undefined) totals.commandMs += number(event, "ms") ?? 0;
        break;
      case "answer": {
        const question = value(event, "question");
        if (question !== undefined) this.answers.set(question, event);
        break;
      }
      default:
    }
  }
}

function emptyTotals(): Totals {
  return {
    calls: 0,
    tokensIn: 0,
    tokensOut: 0,
    microusd: 0,
    unpriced: 0,
    modelMs: 0,
    turnMs: 0,
    commandMs: 0,
    added: 0,
    removed: 0,
    commands: 0,
    points: 0,
    problems: 0,
    unclaimed: 0,
  };
}

/** How tall a row may become; a list that knows this about jumps less. */
function heightOf(made: ItemKind, event: NEvent): number {
  const { length } = event.content;
  switch (made) {
    case "quiet":
    case "answer":
      return 34;
    case "point":
    case "serve":
    case "network":
      return 42;
    case "file": {
      const [added, removed] = changedLines(event);
      return added + removed > SHOWN_AT_ONCE ? 50 : 50 + Math.min(900, Math.ceil(length / 34) * 20);
    }
    case "ran":
      return 62 + Math.min(200, Math.ceil(length / 50) * 20);
    case "said":
    case "asked":
    case "result":
      return 62 + Math.min(900, Math.ceil(length / 72) * 25);
    default:
      return 60;
  }
}

/** Whether records of one session are missing between two events. */
function skips(before: NEvent, after: NEvent): boolean {
  if (before.pubkey !== after.pubkey || !RECORDS.includes(before.kind) || !RECORDS.includes(after.kind)) return false;
  // Most name the one before them, and no number has to be read.
  for (const tag of after.tags) if (tag[0] === "prev" && tag[1] === before.id) return false;
  const [from, to] = [number(before, "seq"), number(after, "seq")];
  return from !== undefined && to !== undefined && to > from + 1;
}

/** Tools of an agent's that are told in a line of their own: what they did can only be read there. */
const TOLD = new Set(["execute"]);

/** What to show of an event; nothing when others tell it. */
export function kindOf(event: NEvent): ItemKind | undefined {
  switch (event.kind) {
    case kind.chatJob:
    case kind.taskJob:
      return "asked";
    case kind.chatResult:
    case kind.taskResult:
      return "result";
    case kind.start:
      return isUndo(event) ? undefined : "started";
    case kind.checkpoint:
      return "point";
    case kind.end:
      return isUndo(event) ? undefined : "ended";
    case kind.error:
      return value(event, "code") === "claim" ? "differs" : "problem";
    case kind.note:
      return "control";
    case kind.action:
      return action(event);
    default:
      return undefined;
  }
}

/** Whether a session is no agent's, but an undo of its owner's after the agent had ended. */
function isUndo(event: NEvent): boolean {
  return value(event, "role") === "undo";
}

function action(event: NEvent): ItemKind {
  switch (label(event)) {
    case "message":
      return "said";
    case "file":
      return value(event, "op") === "many" ? "many" : "file";
    case "command": {
      const claimed = tag(event, "claim") !== undefined && tag(event, "cmd") === undefined;
      return claimed && !TOLD.has(value(event, "tool") ?? "") ? "quiet" : "ran";
    }
    case "check":
      return "ran";
    case "model":
      return "quiet";
    case "undo":
      return "undo";
    case "question":
      return "question";
    case "answer":
      return "answer";
    case "serve":
      return "serve";
    case "network":
      return "network";
    case "pause":
    case "resume":
    case "steer":
      return "control";
    default:
      return "other";
  }
}

function sortsOf(made: ItemKind, event: NEvent): number {
  switch (made) {
    case "asked":
    case "said":
    case "result":
    case "question":
    case "answer":
    case "control":
    case "started":
      return Sort.talk;
    case "ended":
      return Sort.talk | (outcome(event) === "success" ? 0 : Sort.problems);
    case "ran":
      return Sort.commands | (failed(event) ? Sort.problems : 0);
    case "serve":
      return Sort.commands;
    case "network":
      return Sort.commands | (value(event, "verdict") === "refused" ? Sort.problems : 0);
    case "file":
      return Sort.files | (tag(event, "unclaimed") === undefined ? 0 : Sort.problems);
    case "many":
    case "undo":
      return Sort.files;
    case "point":
      return Sort.points;
    case "problem":
    case "differs":
      return Sort.problems;
    case "quiet":
      return Sort.model | (failed(event) ? Sort.problems : 0);
    default:
      return 0;
  }
}

/** Whether a command or call failed, as the host saw it or as the agent says. */
export function failed(event: NEvent): boolean {
  const exit = value(event, "exit");
  return (exit !== undefined && exit !== "0") || value(event, "claim") === "failed" || tag(event, "failed") !== undefined;
}

/** `success`, `partial`, … of a session's end. */
export function outcome(end: NEvent): string {
  return end.tags.find((tag) => tag[0] === "l" && tag[2] === "agent.outcome")?.[1] ?? "";
}

/** Lines that a change added and removed. */
export function changedLines(event: NEvent): [number, number] {
  const lines = tag(event, "lines");
  const read = (text: string | undefined): number => Number(/^[+-](\d{1,9})$/.exec(text ?? "")?.[1] ?? 0);
  return [read(lines?.[1]), read(lines?.[2])];
}

/** The number of a checkpoint, by which it can be brought back. */
export function pointNumber(event: NEvent): number | undefined {
  const number = /\/(\d{1,9})$/.exec(value(event, "r") ?? "")?.[1];
  return number === undefined ? undefined : Number(number);
}

/** The command of a record, as a person would type it; nothing when it is only in the record's `alt`. */
export function commandOf(event: NEvent): string | undefined {
  const words = tag(event, "cmd")?.slice(1);
  if (words === undefined) {
    // "Says it ran `npm test`, which failed"
    const alt = value(event, "alt") ?? "";
    const [from, to] = [alt.indexOf("`"), alt.lastIndexOf("`")];
    return from >= 0 && to > from ? alt.slice(from + 1, to) : undefined;
  }
  if (words[0] === "sh" && words[1] === "-c" && words.length >= 3) return words[2];
  return words.join(" ");
}

/** What a command gave. The host writes the command itself before it. */
export function outputOf(event: NEvent): string {
  const command = commandOf(event);
  const head = `$ ${command}\n`;
  return command !== undefined && event.content.startsWith(head) ? event.content.slice(head.length) : event.content;
}

/** How many bytes are not in the record because the job is private. */
export function withheld(event: NEvent): number | undefined {
  return number(event, "withheld");
}

/** The whole of a text that was cut: its bytes and its hash. */
export function truncated(event: NEvent): { bytes: number; sha256: string } | undefined {
  const [bytes, sha256] = [number(event, "truncated", 1), tag(event, "truncated")?.[2]];
  return bytes !== undefined && sha256 !== undefined && /^[0-9a-f]{64}$/.test(sha256) ? { bytes, sha256 } : undefined;
}

/** The options of a question. */
export function options(event: NEvent): { id: string; kind: string; name: string }[] {
  return tags(event, "option").map((option) => ({ id: option[1] ?? "", kind: option[2] ?? "", name: option[3] ?? "" }));
}

/** Whether a session's record says less because its job was private. */
export function isWithheld(event: NEvent): boolean {
  return isPrivate(event) || withheld(event) !== undefined;
}
