// A change of files, line by line: numbers of both sides, a sign for each line, and what changed inside of it.
// Added and removed differ by sign, side and shade too, not by colour alone.

import type { JSX } from "preact";
import { useMemo } from "preact/hooks";

import { words } from "../words/story";
import { useKept } from "./context";
import { type FileDiff, type Hunk, type Line, modeWord, pairs, parse, type Part, words as compare } from "./unified";
import { LineText, Path } from "./parts";
import { line as oneLine, visible } from "./text";

/** Lines that are shown before one asks for more, and that one asking adds. */
const FIRST = 40;
const MORE = 2_000;
/** Lines of a block that is laid out only when it is in sight. */
const BLOCK = 100;

type Entry = { hunk: Hunk; at: number };

/** The lines of one file's change. `name` is under which it is kept how far it was opened. */
export function FileLines({ file, name }: { file: FileDiff; name: string }): JSX.Element {
  const [extra, setExtra] = useKept(name, 0);
  const all = useMemo(() => flatten(file), [file]);
  const few = all.length <= FIRST + 5 ? all.length : FIRST;
  const shown = Math.min(all.length, few + extra);
  const left = all.length - shown;
  const wide = Math.max(2, String(largest(file)).length);
  const blocks: JSX.Element[] = [];
  for (let at = 0; at < shown; at += BLOCK) {
    const part = all.slice(at, Math.min(shown, at + BLOCK));
    blocks.push(
      <div key={at} class="d-block" style={{ containIntrinsicSize: `auto ${part.length * 20}px` }}>
        {part.map((entry, n) => (
          <Row key={n} entry={entry} first={at + n === 0} />
        ))}
      </div>,
    );
  }
  return (
    <div class="d-file">
      <About file={file} />
      {all.length > 0 && (
        <div
          class="d-lines"
          style={{ "--d-n": `${wide}ch` }}
          tabIndex={0}
          role="group"
          aria-label={words.diffOf(oneLine(file.path, 200))}
        >
          {blocks}
        </div>
      )}
      {(left > 0 || extra > 0) && (
        <div class="s-output-more">
          {left > 0 && (
            <button type="button" class="s-link" onClick={() => setExtra(extra + Math.min(left, MORE))}>
              {words.showAll(left)}
            </button>
          )}
          {extra > 0 && (
            <button type="button" class="s-link" onClick={() => setExtra(0)}>
              {words.showLess}
            </button>
          )}
        </div>
      )}
    </div>
  );
}

/** What there is to say of a file beside its lines. */
function About({ file }: { file: FileDiff }): JSX.Element | null {
  const notes: string[] = [];
  const [before, now] = [modeWord(file.oldMode), modeWord(file.newMode)];
  if (file.from !== undefined) notes.push(words.renamed(oneLine(file.from)));
  if (before !== undefined && now !== undefined && before !== now) {
    if (before === "file" && now === "program") notes.push(words.becameProgram);
    else if (before === "program" && now === "file") notes.push(words.becameFile);
    else notes.push(words.modeFromTo(words.modes[before] ?? "", words.modes[now] ?? ""));
  }
  if (file.binary) notes.push(words.binary);
  else if (now === "link") notes.push(words.linkTo);
  else if (file.created && now === "program") notes.push(words.becameProgram);
  if (file.hunks.length === 0 && file.created && !file.binary && file.notes.length === 0) notes.push(words.emptyFile);
  notes.push(...file.notes.slice(0, 5).map((note) => oneLine(note, 200)));
  if (notes.length === 0) return null;
  return (
    <div class="d-notes">
      {notes.map((note) => (
        <p>{note}</p>
      ))}
    </div>
  );
}

function flatten(file: FileDiff): Entry[] {
  return file.hunks.flatMap((hunk) => [{ hunk, at: -1 }, ...hunk.lines.map((_, at) => ({ hunk, at }))]);
}

function largest(file: FileDiff): number {
  const last = file.hunks[file.hunks.length - 1];
  return last === undefined ? 0 : Math.max(last.old, last.new) + last.lines.length;
}

/** Pairs of a hunk's lines, found when its first line is drawn. */
const paired = new WeakMap<Hunk, Map<number, number>>();

function parts(hunk: Hunk, at: number): Part[] | undefined {
  let map = paired.get(hunk);
  if (map === undefined) {
    map = pairs(hunk.lines);
    paired.set(hunk, map);
  }
  const other = map.get(at);
  const [mine, theirs] = [hunk.lines[at], other === undefined ? undefined : hunk.lines[other]];
  if (mine === undefined || theirs === undefined) return undefined;
  if (mine.sign === "-") return compare(mine.text, theirs.text)?.[0];
  return compare(theirs.text, mine.text)?.[1];
}

function Row({ entry, first }: { entry: Entry; first: boolean }): JSX.Element | null {
  const { hunk, at } = entry;
  const line = hunk.lines[at];
  if (line === undefined) {
    // Where a file begins there is nothing to say about where one is.
    if (first && hunk.about === "" && hunk.old <= 1 && hunk.new <= 1) return null;
    return (
      <div class="d-hunk" title={words.hunk(hunk.old, hunk.new)}>
        <span class="d-gutter">⋯</span>
        <span>{oneLine(hunk.about, 200)}</span>
      </div>
    );
  }
  if (line.sign === "\\") return <div class="d-note">{words.noNewline}</div>;
  const numbers = { "data-o": line.old === 0 ? "" : String(line.old), "data-n": line.new === 0 ? "" : String(line.new) };
  const text = <Text line={line} marked={parts(hunk, at)} />;
  if (line.sign === "+") {
    return (
      <ins class="d-line" {...numbers}>
        {text}
      </ins>
    );
  }
  if (line.sign === "-") {
    return (
      <del class="d-line" {...numbers}>
        {text}
      </del>
    );
  }
  return (
    <div class="d-line" {...numbers}>
      {text}
    </div>
  );
}

function Text({ line, marked }: { line: Line; marked: Part[] | undefined }): JSX.Element {
  if (marked === undefined) {
    return (
      <code>
        <LineText text={line.text} />
        {"\n"}
      </code>
    );
  }
  return (
    <code>
      {marked.map((part) => (part.changed ? <mark>{visible(part.text)}</mark> : visible(part.text)))}
      {"\n"}
    </code>
  );
}

/** `+12 −3`, with a bar of how much of which. */
export function Counts({ added, removed }: { added: number; removed: number }): JSX.Element {
  const most = 5;
  const all = added + removed;
  const plus = all === 0 ? 0 : Math.max(added > 0 ? 1 : 0, Math.round((added / all) * most));
  const minus = all === 0 ? 0 : Math.min(most - plus, removed > 0 ? most : 0);
  return (
    <span class="d-counts" role="img" aria-label={words.lines(added, removed)}>
      {added > 0 && <span class="d-plus">+{added}</span>}
      {removed > 0 && <span class="d-minus">−{removed}</span>}
      <span class="d-bar">
        {Array.from({ length: most }, (_, n) => (
          <i class={n < plus ? "plus" : n < plus + minus && n >= plus ? "minus" : ""} />
        ))}
      </span>
    </span>
  );
}

/** The changes of several files, each under its name; for an undo's preview or an apply's. */
export function Changes({ text, name }: { text: string; name: string }): JSX.Element {
  const files = useMemo(() => parse(text), [text]);
  return (
    <div class="d-changes">
      {files.map((file, n) => (
        <OneOfMany key={n} file={file} name={`${name}:${n}`} open={files.length <= 3} />
      ))}
    </div>
  );
}

function OneOfMany({ file, name, open }: { file: FileDiff; name: string; open: boolean }): JSX.Element {
  const [isOpen, setOpen] = useKept(`${name}:open`, open);
  const [added, removed] = useMemo(() => {
    const lines = file.hunks.flatMap((hunk) => hunk.lines);
    const of = (sign: string): number => lines.reduce((sum, line) => sum + (line.sign === sign ? 1 : 0), 0);
    return [of("+"), of("-")];
  }, [file]);
  const op = file.created ? "create" : file.deleted ? "delete" : "modify";
  return (
    <details
      class="s-card"
      open={isOpen}
      onToggle={(event) => {
        if (event.currentTarget.open !== isOpen) setOpen(event.currentTarget.open);
      }}
    >
      <summary class="s-card-head">
        <span class={`s-op ${op}`}>{words.ops[op]}</span>
        <Path path={file.path} />
        <Counts added={added} removed={removed} />
      </summary>
      {isOpen && <FileLines file={file} name={name} />}
    </details>
  );
}
