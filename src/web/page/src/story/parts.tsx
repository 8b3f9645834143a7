// Small parts of the story: icons, texts that are long, prose.

import type { ComponentChildren, JSX } from "preact";
import { useContext, useMemo, useState } from "preact/hooks";

import { words } from "../words/story";
import { Context, useKept } from "./context";
import { type Block, hostOf, markdown, type Span } from "./markdown";
import { cut, line, pathParts, visible } from "./text";

const ICONS = {
  asked: "M4 5h16v11H9l-5 4z",
  said: "M4 5h16v11H9l-5 4zM8 9h8M8 12h5",
  ran: "M5 7l5 5-5 5M12 17h7",
  file: "M7 3h7l4 4v14H7zM14 3v4h4M10 13h5M10 16h5",
  many: "M9 3h6l4 4v11H9zM15 3v4h4M5 7v14h10",
  point: "M12 4l8 8-8 8-8-8z",
  undo: "M9 7L4 12l5 5M4 12h10a5 5 0 015 5v2",
  problem: "M12 4l9 16H3zM12 10v4M12 17v.5",
  differs: "M4 9h16M4 15h16M15 4L9 20",
  question: "M9 9a3 3 0 116 0c0 2-3 2-3 5M12 17v.5",
  answer: "M5 12l5 5 9-10",
  serve: "M12 3a9 9 0 100 18 9 9 0 000-18zM3 12h18M12 3c-5 5-5 13 0 18M12 3c5 5 5 13 0 18",
  started: "M8 5l11 7-11 7z",
  ended: "M6 6h12v12H6z",
  control: "M8 5v14M16 5v14",
  quiet: "M6 12h.5M12 12h.5M18 12h.5",
  gap: "M4 12l3-3 3 6 3-6 3 6 3-3",
  other: "M12 11v6M12 7v.5",
  lock: "M6 11h12v9H6zM8.5 11V8a3.5 3.5 0 017 0v3",
  open: "M10 5H5v14h14v-5M13 4h7v7M20 4l-9 9",
  chevron: "M9 6l6 6-6 6",
  down: "M12 5v14M6 13l6 6 6-6",
  search: "M11 4a7 7 0 100 14 7 7 0 000-14zM16 16l5 5",
  check: "M5 12.5l4.5 4.5L19 7.5",
  cross: "M6 6l12 12M18 6L6 18",
  folder: "M3 6h6l2 2h10v11H3z",
  result: "M5 12l5 5 9-10",
} as const;
export type IconName = keyof typeof ICONS;

export function Icon({ name }: { name: IconName }): JSX.Element {
  return (
    <svg class="icon s-icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      <path d={ICONS[name]} />
    </svg>
  );
}

/** A path whose name stays to be seen when there is no room for its folders. */
export function Path({ path }: { path: string }): JSX.Element {
  const [folders, name] = pathParts(path);
  return (
    <bdi class="s-path" title={folders + name}>
      {folders !== "" && <span class="s-path-folders">{folders}</span>}
      <span class="s-path-name">{name}</span>
    </bdi>
  );
}

/** Characters of a line that are shown at first, and with each asking. */
const LINE = 2_000;
const LINE_MORE = 20_000;

/** A line's text; a very long one is shown in parts. */
export function LineText({ text }: { text: string }): JSX.Element {
  const [most, setMost] = useState(LINE);
  if (text.length <= most) return <>{visible(text)}</>;
  return (
    <>
      {visible(text.slice(0, most))}
      <button type="button" class="s-more-chars" onClick={() => setMost(most + LINE_MORE)}>
        {words.moreChars(text.length - most)}
      </button>
    </>
  );
}

/** Lines of a block that is laid out only when it is in sight. */
const BLOCK = 100;

/** Lines as plain text, in blocks. */
export function Lines({ lines, numbers }: { lines: string[]; numbers?: number }): JSX.Element {
  const blocks: JSX.Element[] = [];
  for (let at = 0; at < lines.length; at += BLOCK) {
    const part = lines.slice(at, at + BLOCK);
    blocks.push(
      <div key={at} class="s-block" style={{ containIntrinsicSize: `auto ${part.length * 20}px` }}>
        {numbers === undefined && part.every((text) => text.length <= LINE)
          ? visible(part.join("\n"))
          : part.map((text, n) => (
              <div key={n} class="s-line" data-n={numbers === undefined ? undefined : numbers + at + n}>
                <LineText text={text} />
                {"\n"}
              </div>
            ))}
      </div>,
    );
  }
  return <>{blocks}</>;
}

/** Lines that one asking adds. */
const MORE = 2_000;

/** What a command gave, or another text of many lines: its beginning or its end, and the rest when asked for. */
export function Output(props: { name: string; text: string; most: number; label: string }): JSX.Element {
  const [extra, setExtra] = useKept(props.name, 0);
  const all = props.text.replace(/\n$/, "").split("\n");
  const few = all.length <= props.most + 2 ? all.length : props.most;
  const shown = Math.min(all.length, few + extra);
  const left = all.length - shown;
  return (
    <div class="s-output">
      <pre tabIndex={0} role="group" aria-label={props.label}>
        <Lines lines={all.slice(0, shown)} />
      </pre>
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

/** Characters of prose that are set; the rest follows plainly. */
const PROSE = 60_000;

/** An agent's words: Markdown as it is meant, and otherwise text as it is. */
export function Prose({ text }: { text: string }): JSX.Element {
  const parsed = useMemo(() => markdown(visible(text.slice(0, PROSE))), [text]);
  return (
    <div class="s-prose">
      <Blocks blocks={parsed} />
      {text.length > PROSE && <Lines lines={text.slice(PROSE).split("\n")} />}
    </div>
  );
}

function Blocks({ blocks }: { blocks: Block[] }): JSX.Element {
  return <>{blocks.map((block, at) => <OneBlock key={at} block={block} />)}</>;
}

function OneBlock({ block }: { block: Block }): JSX.Element {
  switch (block.kind) {
    case "p":
      return <p>{spans(block.spans)}</p>;
    case "heading":
      return <p class="s-heading">{spans(block.spans)}</p>;
    case "code":
      return (
        <pre class="s-code" tabIndex={0}>
          <Lines lines={block.lines} />
        </pre>
      );
    case "rule":
      return <hr />;
    case "quote":
      return (
        <blockquote>
          <Blocks blocks={block.blocks} />
        </blockquote>
      );
    case "list": {
      const items = block.items.map((item, at) => <li key={at}>{item.length === 1 && item[0]?.kind === "p" ? spans(item[0].spans) : <Blocks blocks={item} />}</li>);
      return block.ordered ? <ol start={block.start}>{items}</ol> : <ul>{items}</ul>;
    }
    case "table":
      return (
        <div class="s-table" tabIndex={0}>
          <table>
            <thead>
              <tr>
                {block.head.map((cell, at) => (cell.length === 0 ? <td key={at} /> : <th key={at} scope="col" class={block.align[at]}>{spans(cell)}</th>))}
              </tr>
            </thead>
            <tbody>
              {block.rows.map((row, n) => (
                <tr key={n}>
                  {row.map((cell, at) => (
                    <td key={at} class={block.align[at]}>
                      {spans(cell)}
                    </td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      );
  }
}

function spans(all: Span[]): ComponentChildren[] {
  return all.map((span, at) => {
    if (typeof span === "string") return span;
    switch (span.kind) {
      case "code":
        return <code key={at}>{span.text}</code>;
      case "math":
        return (
          <code key={at} class="s-math">
            {span.text}
          </code>
        );
      case "strong":
        return <strong key={at}>{spans(span.spans)}</strong>;
      case "em":
        return <em key={at}>{spans(span.spans)}</em>;
      case "del":
        return <del key={at}>{spans(span.spans)}</del>;
      case "link":
        return (
          <span key={at} class="s-linked">
            {spans(span.spans)}
            {span.spans.length > 0 && " "}
            <Address href={span.href} />
          </span>
        );
    }
  });
}

/** Where a link of an agent's leads. It is text until its owner asks for it; then it says to whom it goes. */
function Address({ href }: { href: string }): JSX.Element {
  const shared = useContext(Context)?.shared === true;
  const [open, setOpen] = useState(false);
  const host = hostOf(href);
  const text = cut(href, 200);
  if (host === undefined || shared) return <span class="s-address">{text}</span>;
  if (open) {
    return (
      <a class="s-link s-address" href={new URL(href).href} target="_blank" rel="noopener noreferrer">
        {words.leave(line(host, 100))}
      </a>
    );
  }
  return (
    <button type="button" class="s-address" title={words.leaveAsk} onClick={() => setOpen(true)}>
      {text}
    </button>
  );
}
