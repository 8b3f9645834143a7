// Reads the Markdown that models write: blocks and spans as plain data, for whoever draws them. No DOM, no markup:
// what is not understood stays the text that it is. Depth, number and time are bounded, whatever comes.

/** A part of a line. */
export type Span =
  | string
  | { kind: "code" | "math"; text: string }
  | { kind: "strong" | "em" | "del"; spans: Span[] }
  | { kind: "link"; spans: Span[]; href: string; image: boolean };

/** A part of a text. */
export type Block =
  | { kind: "p"; spans: Span[] }
  | { kind: "heading"; spans: Span[] }
  | { kind: "code"; lines: string[] }
  | { kind: "rule" }
  | { kind: "quote"; blocks: Block[] }
  | { kind: "list"; ordered: boolean; start: number; items: Block[][] }
  | { kind: "table"; align: Align[]; head: Span[][]; rows: Span[][][] };

export type Align = "" | "left" | "center" | "right";

/** Lists and quotes inside of each other, and marks inside of each other. */
const DEPTH = 8;
/** Blocks and spans of one text; the rest is text. */
const PARTS = 6_000;
/** Columns of a table. */
const COLUMNS = 24;
/** Characters of the line below a table's head. */
const DELIMITED = 1_000;
/** Characters of a line that is looked at for marks; a longer one is text. */
const LINE = 20_000;
/** Characters of what stands for an address. */
const SAID = 1_000;
/** Characters of an address. */
const ADDRESS = 2_000;

/** What is left of what one text may become. */
interface Budget {
  parts: number;
}

const FENCE = /^( {0,3})(`{3,}|~{3,})([^`]*)$/;
const HEADING = /^ {0,3}#{1,6}[ \t]+(\S.*)$/;
const RULE = /^ {0,3}(?:(?:-[ \t]*){3,}|(?:\*[ \t]*){3,}|(?:_[ \t]*){3,})$/;
const QUOTE = /^ {0,3}>/;
const ITEM = /^( *)([-*+•]|\d{1,9}[.)])(?:([ \t]+)(\S.*)?|)$/;
const DELIMITERS = /^ {0,3}\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;

/** The blocks of a text. */
export function markdown(text: string): Block[] {
  return blocks(text.split("\n"), 0, { parts: PARTS });
}

function blocks(lines: string[], depth: number, budget: Budget): Block[] {
  const found: Block[] = [];
  let paragraph: string[] = [];
  const flush = (): void => {
    if (paragraph.length === 0) return;
    found.push({ kind: "p", spans: spans(paragraph.join("\n"), 0, budget) });
    paragraph = [];
  };
  for (let at = 0; at < lines.length; ) {
    const line = lines[at] ?? "";
    budget.parts -= 1;
    if (depth >= DEPTH || budget.parts <= 0) {
      paragraph.push(...lines.slice(at));
      break;
    }
    const fence = line.length > LINE ? null : FENCE.exec(line);
    if (fence !== null) {
      flush();
      const [, indent = "", mark = ""] = fence;
      const code: string[] = [];
      at += 1;
      while (at < lines.length && !closes(lines[at] ?? "", mark)) code.push(unindented(lines[at++] ?? "", indent.length));
      at += 1;
      found.push({ kind: "code", lines: code });
      continue;
    }
    if (line.trim() === "") {
      flush();
      at += 1;
      continue;
    }
    const marked = line.length <= LINE;
    const heading = marked ? HEADING.exec(line) : null;
    if (heading !== null) {
      flush();
      found.push({ kind: "heading", spans: spans((heading[1] ?? "").replace(/[ \t]#+[ \t]*$/, ""), 0, budget) });
      at += 1;
      continue;
    }
    if (marked && RULE.test(line)) {
      flush();
      found.push({ kind: "rule" });
      at += 1;
      continue;
    }
    if (QUOTE.test(line)) {
      flush();
      const inside: string[] = [];
      while (at < lines.length && QUOTE.test(lines[at] ?? "")) inside.push((lines[at++] ?? "").replace(/^ {0,3}> ?/, ""));
      found.push({ kind: "quote", blocks: blocks(inside, depth + 1, budget) });
      continue;
    }
    const next = lines[at + 1] ?? "";
    if (marked && line.includes("|") && next.length <= DELIMITED && next.includes("-") && DELIMITERS.test(next) && cells(line).length === cells(next).length) {
      flush();
      at = table(lines, at, budget, found);
      continue;
    }
    if (marked && ITEM.test(untabbed(line))) {
      flush();
      at = list(lines, at, depth, budget, found);
      continue;
    }
    paragraph.push(line);
    at += 1;
  }
  flush();
  return found;
}

/** Whether a line ends a block of code that such a mark began. */
function closes(line: string, mark: string): boolean {
  const text = line.trim();
  return text.length >= mark.length && text.length <= 200 && text === (mark[0] ?? "`").repeat(text.length);
}

const untabbed = (line: string): string => line.replace(/^[ \t]+/, (space) => space.replaceAll("\t", "    "));

const indentOf = (line: string): number => /^ */.exec(line)?.[0].length ?? 0;

/** A line without so many of the blanks before it. */
const unindented = (line: string, most: number): string => line.slice(Math.min(most, indentOf(line)));

/** Reads a list, and gives the line after it. */
function list(lines: string[], from: number, depth: number, budget: Budget, into: Block[]): number {
  const first = ITEM.exec(untabbed(lines[from] ?? ""));
  const base = first?.[1]?.length ?? 0;
  const ordered = /^\d/.test(first?.[2] ?? "");
  const items: Block[][] = [];
  let at = from;
  while (at < lines.length) {
    const item = ITEM.exec(untabbed(lines[at] ?? ""));
    if (item === null || Math.abs((item[1]?.length ?? 0) - base) > 1 || /^\d/.test(item[2] ?? "") !== ordered || RULE.test(lines[at] ?? "")) break;
    const own = item[1]?.length ?? 0;
    const width = (item[2]?.length ?? 1) + Math.min(4, Math.max(1, item[3]?.length ?? 1));
    const inside = [box(item[4] ?? "")];
    at += 1;
    while (at < lines.length) {
      const line = untabbed(lines[at] ?? "");
      if (line.trim() === "") {
        // An empty line belongs to the item when what follows it does.
        const after = untabbed(lines.slice(at, at + 20).find((line) => line.trim() !== "") ?? "");
        if (after === "" || indentOf(after) <= own + 1) break;
      } else if (indentOf(line) <= own + (ITEM.test(line) ? 1 : 0)) break;
      inside.push(unindented(line, own + width));
      at += 1;
    }
    items.push(blocks(inside, depth + 1, budget));
    // Items may stand apart.
    let next = at;
    while (next < lines.length && next < at + 20 && (lines[next] ?? "").trim() === "") next += 1;
    if (next > at && ITEM.test(untabbed(lines[next] ?? ""))) at = next;
  }
  into.push({ kind: "list", ordered, start: Number.parseInt(first?.[2] ?? "1", 10) || (first?.[2]?.startsWith("0") === true ? 0 : 1), items });
  return at;
}

/** A box to tick, as a sign. */
const box = (text: string): string => text.replace(/^\[([ xX])\][ \t]/, (_, mark: string) => (mark === " " ? "☐ " : "☑ "));

/** Reads a table, and gives the line after it. */
function table(lines: string[], from: number, budget: Budget, into: Block[]): number {
  const align = cells(lines[from + 1] ?? "").map((cell): Align => {
    const [left, right] = [cell.startsWith(":"), cell.endsWith(":")];
    return left && right ? "center" : right ? "right" : left ? "left" : "";
  });
  const row = (line: string): Span[][] => {
    const found = cells(line).slice(0, align.length).map((cell) => spans(cell, 0, budget));
    while (found.length < align.length) found.push([]);
    return found;
  };
  const head = row(lines[from] ?? "");
  const rows: Span[][][] = [];
  let at = from + 2;
  while (at < lines.length && (lines[at] ?? "").includes("|") && (lines[at] ?? "").length <= LINE && budget.parts > 0) {
    budget.parts -= align.length;
    rows.push(row(lines[at] ?? ""));
    at += 1;
  }
  into.push({ kind: "table", align, head, rows });
  return at;
}

/** The cells of a line of a table. */
function cells(line: string): string[] {
  const found: string[] = [];
  let cell = "";
  const text = line.trim();
  for (let at = text.startsWith("|") ? 1 : 0; at < text.length && found.length < COLUMNS; at += 1) {
    const char = text[at] ?? "";
    if (char === "\\" && text[at + 1] === "|") {
      cell += "|";
      at += 1;
    } else if (char === "|") {
      found.push(cell.trim());
      cell = "";
    } else cell += char;
  }
  if (cell.trim() !== "" || !text.endsWith("|")) found.push(cell.trim());
  return found.slice(0, COLUMNS).map((cell) => cell.replace(/<br ?\/?>/gi, "\n"));
}

/** Characters that may mean something. */
const SPECIAL = /[\\`*_~[!<$h]/g;
const PUNCTUATION = /[!-/:-@[-`{-~]/;
const WORD = /[\p{L}\p{N}]/u;
const URL = /https?:\/\/[^\s<>"'`|\\^{}]{1,2000}/y;

/** The spans of a text. Each mark is looked for once: what has no end here has none further on. */
function spans(text: string, depth: number, budget: Budget): Span[] {
  if (text.length > LINE || depth >= DEPTH) return [text];
  const found: Span[] = [];
  const endless = new Set<string>();
  let plain = "";
  let at = 0;
  const push = (span: Span, to: number): void => {
    if (plain !== "") found.push(plain);
    plain = "";
    found.push(span);
    budget.parts -= 1;
    at = to;
  };
  while (at < text.length && budget.parts > 0) {
    SPECIAL.lastIndex = at;
    const special = SPECIAL.exec(text);
    if (special === null) break;
    plain += text.slice(at, special.index);
    at = special.index;
    const [char, next] = [text[at] ?? "", text[at + 1] ?? ""];
    if (char === "\\" && PUNCTUATION.test(next) && !/[([\])]/.test(next)) {
      plain += next;
      at += 2;
      continue;
    }
    const made = char === "`" ? code(text, at, endless) : char === "$" || char === "\\" ? math(text, at, endless) : "*_~".includes(char) ? emphasis(text, at, depth, budget, endless) : link(text, at, depth, budget);
    if (made !== undefined) {
      push(made[0], made[1]);
      continue;
    }
    // A run of marks that mean nothing is passed at once.
    let end = at + 1;
    if ("*_~`".includes(char)) while (text[end] === char) end += 1;
    plain += text.slice(at, end);
    at = end;
  }
  plain += text.slice(at);
  if (plain !== "") found.push(plain);
  return found;
}

type Made = [Span, number] | undefined;

/** How many of one character follow each other. */
function run(text: string, at: number): number {
  let end = at;
  while (text[end] === text[at] && end < text.length) end += 1;
  return end - at;
}

function code(text: string, at: number, endless: Set<string>): Made {
  const length = run(text, at);
  const mark = "`".repeat(length);
  if (length > 100 || endless.has(mark)) return undefined;
  for (let end = text.indexOf(mark, at + length); end >= 0; ) {
    const other = run(text, end);
    if (other === length) {
      const inside = text.slice(at + length, end).replaceAll("\n", " ");
      const trimmed = /^ .*[^ ].* $/.test(inside) ? inside.slice(1, -1) : inside;
      return [{ kind: "code", text: trimmed }, end + length];
    }
    end = text.indexOf(mark, end + other);
  }
  endless.add(mark);
  return undefined;
}

/** A formula, which is shown as it is written. Of prices none becomes one. */
function math(text: string, at: number, endless: Set<string>): Made {
  const open = ["$$", "\\(", "\\[", "$"].find((mark) => text.startsWith(mark, at));
  if (open === undefined || endless.has(open)) return undefined;
  const close = open === "\\(" ? "\\)" : open === "\\[" ? "\\]" : open;
  const from = at + open.length;
  const end = text.indexOf(close, from);
  if (end < 0) endless.add(open);
  if (end <= from) return undefined;
  const inside = text.slice(from, end);
  if (open === "$" && (/^\s|\s$|\n/.test(inside) || /\d/.test(text[end + 1] ?? ""))) return undefined;
  return [{ kind: "math", text: inside.trim() }, end + close.length];
}

/** Whether a mark that ends stands here, with so many characters. */
function ends(text: string, at: number, char: string, length: number, from: number): boolean {
  if (at <= from || /\s/.test(text[at - 1] ?? " ")) return false;
  return char !== "_" || !WORD.test(text[at + length] ?? " ");
}

function emphasis(text: string, at: number, depth: number, budget: Budget, endless: Set<string>): Made {
  const char = text[at] ?? "";
  const length = run(text, at);
  const mark = char.repeat(length);
  const from = at + length;
  if (length > 3 || (char === "~" && length !== 2) || endless.has(mark)) return undefined;
  // snake_case, and 2*3.
  const within = at > 0 && WORD.test(text[at - 1] ?? " ") && (char === "_" || (length === 1 && WORD.test(text[from] ?? " ")));
  if (within || /\s/.test(text[from] ?? " ")) return undefined;
  for (let end = text.indexOf(char, from); end >= 0; ) {
    const other = run(text, end);
    // The end of what is inside may stand before it: **a *b***
    const to = other > length && other <= 3 ? end + other - length : end;
    const fits = other === length || (other > length && other <= 3 && char !== "~" && inner(text, from, end, char, other - length));
    if (fits && ends(text, to, char, length, from)) {
      const inside = spans(text.slice(from, to), depth + 1, budget);
      const span: Span =
        char === "~"
          ? { kind: "del", spans: inside }
          : length === 1
            ? { kind: "em", spans: inside }
            : length === 2
              ? { kind: "strong", spans: inside }
              : { kind: "strong", spans: [{ kind: "em", spans: inside }] };
      return [span, to + length];
    }
    end = text.indexOf(char, end + other);
  }
  endless.add(mark);
  return undefined;
}

/** Whether a mark of so many characters is open between two places. */
function inner(text: string, from: number, to: number, char: string, length: number): boolean {
  const mark = char.repeat(length);
  const opens = text.lastIndexOf(mark, to - 1);
  return opens >= from && text[opens - 1] !== char && !/\s/.test(text[opens + length] ?? " ");
}

/** `[text](address)`, `![text](address)`, `<address>` and a bare address. */
function link(text: string, at: number, depth: number, budget: Budget): Made {
  const char = text[at] ?? "";
  if (char === "h" || char === "<") {
    if (char === "h" && at > 0 && WORD.test(text[at - 1] ?? " ")) return undefined;
    URL.lastIndex = char === "<" ? at + 1 : at;
    const bare = URL.exec(text)?.[0];
    if (bare === undefined) return undefined;
    if (char === "<") return text[at + 1 + bare.length] === ">" ? [{ kind: "link", spans: [], href: bare, image: false }, at + 2 + bare.length] : undefined;
    const href = trimmed(bare);
    return [{ kind: "link", spans: [], href, image: false }, at + href.length];
  }
  const image = char === "!";
  const open = image ? at + 1 : at;
  if (text[open] !== "[") return undefined;
  const length = text.slice(open + 1, open + 1 + SAID).indexOf("](");
  if (length < 0) return undefined;
  const middle = open + 1 + length;
  const said = text.slice(open + 1, middle);
  if (!image && said.lastIndexOf("[") > said.lastIndexOf("]")) return undefined;
  let [end, level] = [middle + 2, 0];
  for (; end < text.length && end < middle + ADDRESS; end += 1) {
    const here = text[end];
    if (here === "(") level += 1;
    if (here === ")" && level-- === 0) break;
    if (here === "\n") return undefined;
  }
  if (text[end] !== ")") return undefined;
  const href = text.slice(middle + 2, end).trim().replace(/[ \t]+(?:"[^"]*"|'[^']*')$/, "").replace(/^<(.*)>$/, "$1");
  if (href === "" || /\s/.test(href)) return undefined;
  return [{ kind: "link", spans: spans(said, depth + 1, budget), href, image }, end + 1];
}

/** A bare address without what ends the sentence around it. */
function trimmed(url: string): string {
  let end = url.length;
  for (; end > 0; end -= 1) {
    const last = url[end - 1] ?? "";
    if (/[.,;:!?*_~\]]/.test(last)) continue;
    if (last !== ")") break;
    const inside = url.slice(0, end);
    if (inside.split("(").length >= inside.split(")").length) break;
  }
  return url.slice(0, end);
}

/** Where an address of http or https leads; nothing for any other. */
export function hostOf(href: string): string | undefined {
  if (!/^https?:\/\//i.test(href) || href.length > ADDRESS) return undefined;
  try {
    return new globalThis.URL(href).host || undefined;
  } catch {
    return undefined;
  }
}
