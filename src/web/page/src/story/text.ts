// What agents wrote, made fit to be looked at: characters that a screen would obey or hide are shown as what they
// are, and no text is so long that the page stands still. Text goes into text nodes only.

/** Colours of a terminal. They hide nothing when they are left out; every other sequence is shown. */
const COLOURS = /\u001b\[[0-9;:]*m/g;
/** What reorders text ("Trojan Source"), or takes no room: marks, separators, fillers, tags. */
const HIDDEN =
  "\\u00ad\\u034f\\u061c\\u115f\\u1160\\u180e\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\u3164\\ufeff\\uffa0\\ufff9-\\ufffb\\u{e0000}-\\u{e0fff}";
const STRANGE = new RegExp(`[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f${HIDDEN}]`, "u");
/** The joiner between two pictures makes one of them, and stays. */
const JOINER = "(?<joiner>(?<=\\p{Extended_Pictographic}[\\ufe0f\\u{1f3fb}-\\u{1f3ff}]?)\\u200d(?=\\p{Extended_Pictographic}))";
const EACH = new RegExp(`${JOINER}|\\r\\n|${STRANGE.source}`, "gu");

/** Text in which every character can be seen. Line breaks and tabs stay. */
export function visible(text: string): string {
  if (!STRANGE.test(text)) return text;
  return text.replace(COLOURS, "").replace(EACH, (found, joiner: string | undefined) => joiner ?? show(found));
}

function show(found: string): string {
  if (found === "\r\n") return "\n";
  const code = found.codePointAt(0) ?? 0;
  if (code === 0x0d) return "␍\n";
  if (code < 0x20) return String.fromCodePoint(0x2400 + code);
  if (code === 0x7f) return "␡";
  return `⟨U+${code.toString(16).toUpperCase().padStart(4, "0")}⟩`;
}

/** As `visible`, on one line. */
export function line(text: string, most = 400): string {
  const flat = visible(text.length > most * 4 ? text.slice(0, most * 4) : text).replace(/\s+/g, " ").trim();
  return cut(flat, most);
}

/** The first characters of a text, with an ellipsis where it was cut; never half a character. */
export function cut(text: string, most: number): string {
  if (text.length <= most) return text;
  const end = /[\ud800-\udbff]/.test(text[most - 1] ?? "") ? most - 1 : most;
  return `${text.slice(0, end)}…`;
}

/** The beginning of a text in lines, and how much more there is. */
export interface Excerpt {
  lines: string[];
  /** Lines after those. */
  more: number;
}

/** Splits into lines, no more than `most` of them; counts the rest without keeping it. */
export function excerpt(text: string, most: number): Excerpt {
  const lines: string[] = [];
  let at = 0;
  const end = text.endsWith("\n") ? text.length - 1 : text.length;
  while (at <= end && lines.length < most) {
    const next = text.indexOf("\n", at);
    const stop = next < 0 || next > end ? end : next;
    lines.push(text.slice(at, stop));
    at = stop + 1;
  }
  let more = 0;
  while (at <= end) {
    more += 1;
    const next = text.indexOf("\n", at);
    if (next < 0 || next >= end) break;
    at = next + 1;
  }
  return { lines, more };
}

/** A path in two parts, so that a long one is cut in its folders and not in its name. */
export function pathParts(path: string): [string, string] {
  const shown = line(path, 1000);
  const at = shown.lastIndexOf("/", shown.length - 2);
  return at < 0 ? ["", shown] : [shown.slice(0, at + 1), shown.slice(at + 1)];
}
