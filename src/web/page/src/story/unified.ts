// A unified diff, read: what became of which file, and its lines with their numbers. Whatever stands there, reading
// takes time in proportion to its length; what is no diff is kept as a note.

/** What a line of a hunk is. */
export type Sign = " " | "+" | "-" | "\\";

export interface Line {
  sign: Sign;
  text: string;
  /** Its number before and after; 0 where it has none. */
  old: number;
  new: number;
}

export interface Hunk {
  /** What stands after the second @@. */
  about: string;
  old: number;
  new: number;
  lines: Line[];
}

export interface FileDiff {
  path: string;
  /** The path before, when it was another one. */
  from: string | undefined;
  oldMode: string | undefined;
  newMode: string | undefined;
  created: boolean;
  deleted: boolean;
  binary: boolean;
  hunks: Hunk[];
  /** Lines that say something else: why there is nothing to see. */
  notes: string[];
}

const HUNK = /^@@ -(\d{1,9})(?:,(\d{1,9}))? \+(\d{1,9})(?:,(\d{1,9}))? @@ ?(.*)$/;

/** Reads a diff of any number of files. */
export function parse(text: string): FileDiff[] {
  const files: FileDiff[] = [];
  let file: FileDiff | undefined;
  let hunk: Hunk | undefined;
  // Lines that the hunk still has, so that a removed line "-- a/x" is not taken for a name.
  let oldLeft = 0;
  let newLeft = 0;
  let oldAt = 0;
  let newAt = 0;
  const begin = (path: string): FileDiff => {
    const made: FileDiff = {
      path,
      from: undefined,
      oldMode: undefined,
      newMode: undefined,
      created: false,
      deleted: false,
      binary: false,
      hunks: [],
      notes: [],
    };
    files.push(made);
    return made;
  };
  let at = 0;
  while (at < text.length) {
    const next = text.indexOf("\n", at);
    const line = text.slice(at, next < 0 ? text.length : next);
    at = next < 0 ? text.length : next + 1;
    const sign = line[0] ?? " ";
    if (hunk !== undefined && (oldLeft > 0 || newLeft > 0) && (sign === " " || sign === "+" || sign === "-")) {
      const old = sign === "+" ? 0 : oldAt++;
      const fresh = sign === "-" ? 0 : newAt++;
      if (sign !== "+") oldLeft -= 1;
      if (sign !== "-") newLeft -= 1;
      hunk.lines.push({ sign, text: line.slice(1), old, new: fresh });
      continue;
    }
    if (hunk !== undefined && sign === "\\") {
      hunk.lines.push({ sign, text: line.slice(2), old: 0, new: 0 });
      continue;
    }
    if (line.startsWith("diff --git ")) {
      file = begin(named(line.slice(11)));
      hunk = undefined;
      continue;
    }
    file ??= begin("");
    const range = HUNK.exec(line);
    if (range !== null) {
      oldAt = Number(range[1]);
      newAt = Number(range[3]);
      oldLeft = Number(range[2] ?? 1);
      newLeft = Number(range[4] ?? 1);
      hunk = { about: range[5] ?? "", old: oldAt, new: newAt, lines: [] };
      file.hunks.push(hunk);
      continue;
    }
    hunk = undefined;
    header(file, line);
  }
  return files;
}

function header(file: FileDiff, line: string): void {
  const after = (word: string): string | undefined => (line.startsWith(word) ? line.slice(word.length) : undefined);
  const mode = (text: string): string => text.trim().slice(0, 12);
  const made = after("new file mode ");
  const gone = after("deleted file mode ");
  const before = after("old mode ");
  const now = after("new mode ");
  if (made !== undefined) {
    file.created = true;
    file.newMode = mode(made);
  } else if (gone !== undefined) {
    file.deleted = true;
    file.oldMode = mode(gone);
  } else if (before !== undefined) {
    file.oldMode = mode(before);
  } else if (now !== undefined) {
    file.newMode = mode(now);
  } else if (line.startsWith("--- ")) {
    const from = unquote(line.slice(4), "a/");
    if (from === "/dev/null") file.created = true;
    else if (file.path === "") file.path = from;
    else if (from !== file.path) file.from = from;
  } else if (line.startsWith("+++ ")) {
    const to = unquote(line.slice(4), "b/");
    if (to === "/dev/null") file.deleted = true;
    else file.path = to;
    if (file.from === file.path) file.from = undefined;
  } else if (line.startsWith("Binary files ")) {
    file.binary = true;
  } else if (!line.startsWith("index ") && line !== "") {
    file.notes.push(line);
  }
}

/** The path in `a/x b/x`: both are the same, so the first half is it. */
function named(both: string): string {
  const half = both.slice(0, (both.length - 1) / 2);
  if (both.startsWith('"')) return unquote(half, "a/");
  return half.startsWith("a/") ? half.slice(2) : half;
}

const ESCAPES: Record<string, number> = { n: 10, t: 9, r: 13, '"': 34, "\\": 92, a: 7, b: 8, v: 11, f: 12 };

/** A name as git writes it: bytes in octal inside double quotes where a character is not plain. */
function unquote(name: string, prefix: string): string {
  let path = name;
  if (name.startsWith('"') && name.endsWith('"') && name.length > 1) {
    const bytes: number[] = [];
    const encoder = new TextEncoder();
    const inner = name.slice(1, -1);
    for (let at = 0; at < inner.length; at += 1) {
      if (inner[at] !== "\\") {
        const start = at;
        while (at + 1 < inner.length && inner[at + 1] !== "\\") at += 1;
        for (const byte of encoder.encode(inner.slice(start, at + 1))) bytes.push(byte);
        continue;
      }
      const octal = /^[0-3][0-7]{2}/.exec(inner.slice(at + 1, at + 4))?.[0];
      if (octal !== undefined) {
        bytes.push(Number.parseInt(octal, 8));
        at += 3;
      } else {
        bytes.push(ESCAPES[inner[at + 1] ?? ""] ?? 92);
        at += 1;
      }
    }
    path = new TextDecoder().decode(new Uint8Array(bytes));
  }
  return path.startsWith(prefix) ? path.slice(prefix.length) : path;
}

/** What a mode means, for people. */
export function modeWord(mode: string | undefined): "file" | "program" | "link" | "folder" | undefined {
  if (mode === undefined) return undefined;
  if (mode.startsWith("120")) return "link";
  if (mode.startsWith("040") || mode.startsWith("160")) return "folder";
  if (!mode.startsWith("100")) return undefined;
  return mode.endsWith("755") ? "program" : "file";
}

/** A part of a line, and whether it is what changed in it. */
export interface Part {
  text: string;
  changed: boolean;
}

/** A line longer than this is not compared word by word. */
const MAX_LINE = 600;
const MAX_WORDS = 160;
/** Lines that have less in common than this are two lines, not one that changed. */
const ALIKE = 0.3;

const WORDS = /[\p{L}\p{N}_]+|\s+|[^\p{L}\p{N}_\s]/gu;

/** What changed inside of a line that was replaced by another; nothing when they have too little in common. */
export function words(before: string, after: string): [Part[], Part[]] | undefined {
  return compare(before, after)?.sides;
}

/** As `words`, with how much of the two is the same, from 0 to 1. */
function compare(before: string, after: string): { sides: [Part[], Part[]]; alike: number } | undefined {
  if (before.length > MAX_LINE || after.length > MAX_LINE) return undefined;
  const old = before.match(WORDS) ?? [];
  const now = after.match(WORDS) ?? [];
  let head = 0;
  while (head < old.length && head < now.length && old[head] === now[head]) head += 1;
  let tail = 0;
  const room = Math.min(old.length, now.length) - head;
  while (tail < room && old[old.length - 1 - tail] === now[now.length - 1 - tail]) tail += 1;
  const [a, b] = [old.slice(head, old.length - tail), now.slice(head, now.length - tail)];
  if (a.length > MAX_WORDS || b.length > MAX_WORDS) return undefined;
  const [keptOld, keptNew] = common(a, b);
  const sides: [Part[], Part[]] = [mark(old, head, tail, keptOld), mark(now, head, tail, keptNew)];
  const same = (parts: Part[]): number =>
    parts.reduce((sum, part) => sum + (part.changed ? 0 : part.text.trim().length), 0);
  const most = Math.max(before.trim().length, after.trim().length);
  const alike = most === 0 ? 0 : same(sides[0]) / most;
  return alike < ALIKE ? undefined : { sides, alike };
}

/** The longest common subsequence: for each word of both whether it is in it. */
function common(a: string[], b: string[]): [boolean[], boolean[]] {
  const width = b.length + 1;
  const length = new Uint16Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      const at = i * width + j;
      length[at] =
        a[i] === b[j] ? (length[at + width + 1] ?? 0) + 1 : Math.max(length[at + width] ?? 0, length[at + 1] ?? 0);
    }
  }
  const keptA: boolean[] = a.map(() => false);
  const keptB: boolean[] = b.map(() => false);
  let [i, j] = [0, 0];
  while (i < a.length && j < b.length) {
    if (a[i] === b[j]) {
      keptA[i++] = true;
      keptB[j++] = true;
    } else if ((length[(i + 1) * width + j] ?? 0) >= (length[i * width + j + 1] ?? 0)) i += 1;
    else j += 1;
  }
  return [keptA, keptB];
}

function mark(all: string[], head: number, tail: number, kept: boolean[]): Part[] {
  const parts: Part[] = [];
  all.forEach((text, at) => {
    const changed = at >= head && at < all.length - tail && kept[at - head] !== true;
    const last = parts[parts.length - 1];
    if (last !== undefined && last.changed === changed) last.text += text;
    else parts.push({ text, changed });
  });
  return parts;
}

/** Lines that are looked through for one that is alike. */
const NEAR = 8;

function match(lines: Line[], removed: number[], added: number[], found: Map<number, number>): void {
  let from = 0;
  for (const old of removed) {
    let best: number | undefined;
    let most = 0;
    for (let n = from; n < Math.min(added.length, from + NEAR); n += 1) {
      const alike = compare(lines[old]?.text ?? "", lines[added[n] as number]?.text ?? "")?.alike ?? 0;
      if (alike > most) [best, most] = [n, alike];
    }
    if (best === undefined) continue;
    const fresh = added[best] as number;
    found.set(old, fresh);
    found.set(fresh, old);
    from = best + 1;
  }
}

/** For each removed line of a hunk the added line that took its place, by their positions, both ways. */
export function pairs(lines: Line[]): Map<number, number> {
  const found = new Map<number, number>();
  let at = 0;
  while (at < lines.length) {
    if (lines[at]?.sign !== "-") {
      at += 1;
      continue;
    }
    const removed: number[] = [];
    const added: number[] = [];
    while (lines[at]?.sign === "-" || lines[at]?.sign === "\\") {
      if (lines[at]?.sign === "-") removed.push(at);
      at += 1;
    }
    while (lines[at]?.sign === "+" || lines[at]?.sign === "\\") {
      if (lines[at]?.sign === "+") added.push(at);
      at += 1;
    }
    match(lines, removed, added, found);
  }
  return found;
}
