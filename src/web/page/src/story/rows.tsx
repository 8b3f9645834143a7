// How each kind of item is told.

import type { JSX } from "preact";
import { useMemo } from "preact/hooks";

import { attachments, prompt, requestTags } from "../nostr/jobs";
import { isPrivate, label, type NEvent, number, tag, tags, value } from "../nostr/records";
import { dollars, lasted, timeOfDay, took, tokens, words } from "../words/story";
import { type Async, isAction, useKept, useShared } from "./context";
import { Counts, FileLines } from "./Diff";
import { parse } from "./unified";
import {
  changedLines,
  commandOf,
  failed,
  type Item,
  options,
  outcome,
  outputOf,
  pointNumber,
  SHOWN_AT_ONCE,
  truncated,
  withheld,
} from "./model";
import { Icon, type IconName, Output, Path, Prose } from "./parts";
import { line, visible } from "./text";
import { Undo, UndoButton } from "./Undo";

interface Props {
  item: Item;
  event: NEvent;
  /** Under which it is kept what was opened in it. */
  name: string;
  /** What may have changed about the item: a component whose properties are the same is not drawn again. */
  state: string;
}

/** Lines of a command's output, and of a message, that are shown at first. */
const OUTPUT = 8;
const MESSAGE = 40;
/** Names in a list that are shown. */
const NAMES = 200;

/** What is told of an item. */
export function Body(props: Props): JSX.Element {
  switch (props.item.kind) {
    case "asked":
      return <Asked {...props} />;
    case "started":
      return <Started {...props} />;
    case "said":
    case "result":
      return <Said {...props} />;
    case "ran":
      return <Ran {...props} />;
    case "quiet":
      return <Quiet {...props} />;
    case "file":
      return <File {...props} />;
    case "many":
      return <Many {...props} />;
    case "point":
      return <Point {...props} />;
    case "undo":
      return <WentBack {...props} />;
    case "problem":
      return <Problem {...props} />;
    case "differs":
      return <Differs {...props} />;
    case "question":
      return <Question {...props} />;
    case "answer":
      return <Answer {...props} />;
    case "serve":
      return <Serve {...props} />;
    case "network":
      return <Reached {...props} />;
    case "control":
      return <Control {...props} />;
    case "ended":
      return <Ended {...props} />;
    default:
      return <p class="s-quiet">{line(value(props.event, "alt") ?? props.event.content)}</p>;
  }
}

/** The mark on the line beside an item. */
export function markOf(item: Item, event: NEvent | undefined): IconName {
  if (item.kind === "control" && event !== undefined) {
    if (isAction(event, "resume")) return "started";
    return isAction(event, "pause") ? "control" : "asked";
  }
  return item.kind === "network" ? "serve" : item.kind;
}

function Asked({ event, name }: Props): JSX.Element {
  const { plain, shared } = useShared();
  const said = plain?.get(event.id);
  const text = prompt(event, said);
  const files = attachments(requestTags(event, said));
  return (
    <div class="s-asked">
      <p class="s-label">
        {shared ? words.askedShared : words.asked}
        {isPrivate(event) && <Private />}
      </p>
      {text === undefined ? (
        <p class="s-faint">{words.privateAsk}</p>
      ) : (
        <Output name={`${name}:ask`} text={text} most={MESSAGE} label={words.asked} />
      )}
      {files.length > 0 && (
        <p class="s-faint">{words.attached(files.map((file) => line(file.name, 80)).join(", "))}</p>
      )}
    </div>
  );
}

/** A host that was reached or refused, and at the end of a turn what it came to. */
function Reached({ event }: Props): JSX.Element {
  const host = value(event, "host");
  const count = number(event, "count");
  const [sent, received] = (tag(event, "bytes") ?? []).slice(1).map(Number);
  const refused = value(event, "verdict") === "refused";
  if (host === undefined || count === undefined || refused) {
    return <p class="s-quiet">{line(value(event, "alt") ?? "")}</p>;
  }
  return <p>{words.reached(line(host, 100), count, sent ?? 0, received ?? 0)}</p>;
}

function Private(): JSX.Element {
  return (
    <span class="s-chip" title={words.privateNote}>
      <Icon name="lock" />
      {words.private}
    </span>
  );
}

function Started({ event, name }: Props): JSX.Element {
  const [open, setOpen] = useKept(`${name}:open`, false);
  const env = tag(event, "env") ?? [];
  const named = (word: string): string => env.find((part) => part.startsWith(`${word}=`))?.slice(word.length + 1) ?? "";
  const who = words.started(line(value(event, "role") ?? "", 60), line(value(event, "model") ?? "", 80));
  const details: [string, string][] = ["adapter", "model", "provider", "tier", "image", "config", "workspace", "network"].flatMap(
    (key): [string, string][] => {
      const found = tag(event, key);
      return found === undefined ? [] : [[key, found.slice(1).join(" ")]];
    },
  );
  const known = words.knows[value(event, "resumed") ?? ""];
  const skipped = tags(event, "skipped").length;
  const ignored = number(event, "ignored") ?? 0;
  return (
    <div class="s-started">
      <p>
        <strong>{who}</strong>{" "}
        <span class="s-faint">
          {words.sandbox(line(named("sandbox"), 20), line(named("network"), 20))}
          {known !== undefined && `; ${known}`}
        </span>
        {value(event, "tier") !== undefined && value(event, "tier") !== "local" && (
          <span class="s-chip">{words.cloud}</span>
        )}
        <button type="button" class="s-link" aria-expanded={open} onClick={() => setOpen(!open)}>
          {words.details}
        </button>
      </p>
      {open && (
        <div class="s-details">
          <p>{visible(event.content)}</p>
          {skipped > 0 && <p>{words.skipped(skipped)}</p>}
          {ignored > 0 && <p>{words.ignored(ignored)}</p>}
          <dl>
            {details.map(([key, text]) => (
              <>
                <dt>{key}</dt>
                <dd>{line(text, 200)}</dd>
              </>
            ))}
            <dt>env</dt>
            <dd>{line(env.slice(1).join(" "), 200)}</dd>
          </dl>
        </div>
      )}
    </div>
  );
}

/** The text of a record, all of it once it was loaded, and how to load it. */
function useWhole(event: NEvent, name: string, text: string): [string, JSX.Element | null] {
  const { actions, memory } = useShared();
  const cut = truncated(event);
  if (cut === undefined) return [text, null];
  const whole = memory.get<Async<string>>(`${name}:whole`);
  if (whole?.state === "done") return [whole.value, null];
  const load = actions.blob;
  return [
    text,
    <p class="s-cut">
      {words.cutText(new TextEncoder().encode(event.content).length, cut.bytes)}{" "}
      {load === undefined ? (
        words.wholeNotHere
      ) : (
        <button
          type="button"
          class="s-link"
          disabled={whole?.state === "busy"}
          onClick={() => void memory.run(`${name}:whole`, () => load(cut.sha256))}
        >
          {whole?.state === "busy" ? words.loading : words.loadWhole}
        </button>
      )}
      {whole?.state === "failed" && <span class="u-bad"> {whole.why || words.wholeFailed}</span>}
    </p>,
  ];
}

function Said({ item, event, name }: Props): JSX.Element {
  const { plain } = useShared();
  const [open, setOpen] = useKept(`${name}:open`, false);
  const [content, cut] = useWhole(event, name, isPrivate(event) ? (plain?.get(event.id) ?? "") : event.content);
  const hidden = withheld(event);
  if (hidden !== undefined || (item.kind === "result" && content === "")) {
    return (
      <p class="s-quiet">
        {words.privateAnswer(hidden ?? event.content.length)} <Private />
      </p>
    );
  }
  const stopped = (value(event, "alt") ?? "").startsWith("Said before");
  const lines = content.split("\n");
  const long = lines.length > MESSAGE + 10 || content.length > 8_000;
  const text = long && !open ? lines.slice(0, MESSAGE).join("\n").slice(0, 6_000) : content;
  const left = lines.length - text.split("\n").length;
  return (
    <div class="s-said">
      <p class="s-label">
        {item.kind === "result" ? words.answer : words.agent}
        {stopped && <span class="s-chip warn">{words.stopped}</span>}
        {item.kind === "result" && isPrivate(event) && <Private />}
        <Cost event={event} />
      </p>
      <Prose text={text} />
      {long && (
        <button type="button" class="s-link" aria-expanded={open} onClick={() => setOpen(!open)}>
          {open ? words.showLess : words.showAll(Math.max(1, left))}
        </button>
      )}
      {cut}
    </div>
  );
}

/** What a turn cost. */
function Cost({ event }: { event: NEvent }): JSX.Element | null {
  const all = (number(event, "tokens", 1) ?? 0) + (number(event, "tokens", 2) ?? 0);
  const [ms, cost] = [number(event, "ms"), number(event, "microusd")];
  const said = [
    all > 0 ? tokens(all) : "",
    ms !== undefined ? took(ms) : "",
    cost !== undefined && cost > 0 ? dollars(cost) : "",
  ].filter((text) => text !== "");
  return said.length === 0 ? null : <span class="s-cost">{said.join(" · ")}</span>;
}

function Ran({ event, name }: Props): JSX.Element {
  const claim = tag(event, "claim") !== undefined && tag(event, "cmd") === undefined;
  const [output, cut] = useWhole(event, name, outputOf(event));
  const command = commandOf(event) ?? value(event, "alt") ?? "";
  const [exit, ms] = [value(event, "exit"), number(event, "ms")];
  const bad = failed(event);
  const hidden = withheld(event);
  return (
    <div class={`s-card s-ran ${bad ? "bad" : ""}`}>
      <div class="s-card-head">
        <code class="s-cmd">
          <span class="s-dollar" aria-hidden="true">
            ${" "}
          </span>
          {line(command, 600)}
        </code>
        <span class="s-meta">
          {claim && <span>{words.saysRan}</span>}
          {label(event) === "check" && <span>{words.isCheck}</span>}
          {claim && bad && <span class="s-chip bad">{words.saysFailed}</span>}
          {exit !== undefined && <span class={`s-chip ${bad ? "bad" : "good"}`}>{words.exit(line(exit, 8))}</span>}
          {ms !== undefined && <span>{took(ms)}</span>}
        </span>
      </div>
      {hidden !== undefined ? (
        <p class="s-quiet">{words.withheld(hidden)}</p>
      ) : output.trim() === "" ? (
        !claim && <p class="s-quiet">{words.noOutput}</p>
      ) : (
        <Output name={`${name}:out`} text={output} most={OUTPUT} label={claim ? words.saysOutput : words.output} />
      )}
      {cut}
    </div>
  );
}

/** The steps between, in one line. */
function Quiet({ item, name }: Props): JSX.Element {
  const { story } = useShared();
  const [open, setOpen] = useKept(`${name}:open`, false);
  const events = story.of(item);
  const sums = { calls: 0, failed: 0, in: 0, out: 0, ms: 0, cost: 0, read: 0, search: 0, edit: 0, other: 0 };
  for (const event of events) {
    if (isAction(event, "model")) {
      sums.calls += 1;
      if (tag(event, "failed") !== undefined) sums.failed += 1;
      sums.in += number(event, "tokens", 1) ?? 0;
      sums.out += number(event, "tokens", 2) ?? 0;
      sums.ms += number(event, "ms") ?? 0;
      sums.cost += number(event, "microusd") ?? 0;
      continue;
    }
    const tool = value(event, "tool");
    if (tool === "read" || tool === "search") sums[tool] += 1;
    else if (tool === "edit" || tool === "delete" || tool === "move") sums.edit += 1;
    else sums.other += 1;
  }
  const list = (parts: string[]): string => parts.filter((text) => text !== "").join(", ");
  const asked = list([
    sums.calls > 0 ? words.quiet.calls(sums.calls) : "",
    sums.failed > 0 ? words.quiet.failed(sums.failed) : "",
  ]);
  const claimed = list([
    sums.read > 0 ? words.quiet.read(sums.read) : "",
    sums.search > 0 ? words.quiet.search(sums.search) : "",
    sums.edit > 0 ? words.quiet.edit(sums.edit) : "",
    sums.other > 0 ? words.quiet.other(sums.other) : "",
  ]);
  const cost = [
    sums.in + sums.out > 0 ? tokens(sums.in + sums.out) : "",
    sums.ms > 0 ? took(sums.ms) : "",
    sums.cost > 0 ? dollars(sums.cost) : "",
  ].filter((text) => text !== "");
  // What an agent says of itself stays what it says.
  const text = claimed === "" ? asked : `${asked === "" ? "" : `${asked}; `}${words.quiet.says(claimed)}`;
  return (
    <div class="s-steps">
      <button type="button" class="s-fold" aria-expanded={open} onClick={() => setOpen(!open)}>
        <span>{text.charAt(0).toUpperCase() + text.slice(1)}</span>
        <span class="s-cost">{cost.join(" · ")}</span>
        <Icon name="chevron" />
      </button>
      {open && (
        <ul class="s-list">
          {events.map((event) => (
            <li class={failed(event) ? "bad" : ""}>
              <OneStep event={event} />
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}

function OneStep({ event }: { event: NEvent }): JSX.Element {
  const { story } = useShared();
  if (isAction(event, "model")) {
    const [first, ms, why] = [number(event, "first_ms"), number(event, "ms"), value(event, "failed")];
    const said = [
      words.call(line(value(event, "model") ?? "", 80), number(event, "tokens", 1) ?? 0, number(event, "tokens", 2) ?? 0),
      ms !== undefined ? took(ms) : "",
      first !== undefined ? words.firstWord(first) : "",
      why !== undefined ? words.callFailed(line(why, 40)) : "",
    ];
    return <>{said.filter((text) => text !== "").join(" · ")}</>;
  }
  return (
    <>
      {line(value(event, "alt") ?? "", 300)}
      {story.isKept(event) && <span class="s-faint"> ({words.checked})</span>}
      {event.content.trim() !== "" && (
        <span class="s-faint s-excerpt"> {line(event.content, 160)}</span>
      )}
    </>
  );
}

function File({ event, name }: Props): JSX.Element {
  const { actions } = useShared();
  const [added, removed] = changedLines(event);
  const [open, setOpen] = useKept(`${name}:open`, added + removed <= SHOWN_AT_ONCE);
  const path = value(event, "path");
  const op = value(event, "op") ?? "modify";
  const unclaimed = tag(event, "unclaimed") !== undefined;
  const openFile = actions.openFile;
  return (
    <div class={`s-card s-file ${unclaimed ? "flagged" : ""}`}>
      <div class="s-card-head">
        <button
          type="button"
          class="s-toggle"
          aria-expanded={open}
          aria-label={open ? words.collapse : words.expand}
          onClick={() => setOpen(!open)}
        >
          <Icon name="chevron" />
        </button>
        <span class={`s-op ${line(op, 10)}`}>{words.ops[op] ?? line(op, 40)}</span>
        {path === undefined ? <span>{words.aFile}</span> : <Path path={path} />}
        {unclaimed && (
          <span class="s-chip warn">
            <Icon name="differs" />
            {words.unclaimed}
          </span>
        )}
        <span class="s-meta">
          <Counts added={added} removed={removed} />
          {openFile !== undefined && path !== undefined && op !== "delete" && (
            <button type="button" class="s-icon-button" title={words.openFile} onClick={() => openFile(path, undefined)}>
              <Icon name="open" />
            </button>
          )}
        </span>
      </div>
      {open && <Change event={event} name={name} />}
    </div>
  );
}

function Change({ event, name }: { event: NEvent; name: string }): JSX.Element {
  const [text, cut] = useWhole(event, name, event.content);
  const files = useMemo(() => parse(text), [text]);
  const hidden = withheld(event);
  if (hidden !== undefined) return <p class="s-quiet">{words.withheld(hidden)}</p>;
  return (
    <>
      {files.slice(0, 20).map((file, n) => (
        <FileLines key={n} file={file} name={`${name}:${n}:lines`} />
      ))}
      {cut}
    </>
  );
}

function Many({ event, name }: Props): JSX.Element {
  const [open, setOpen] = useKept(`${name}:open`, false);
  const lines = event.content.split("\n");
  return (
    <div class="s-card s-file">
      <div class="s-card-head">
        <button type="button" class="s-fold" aria-expanded={open} onClick={() => setOpen(!open)}>
          <Icon name="chevron" />
          <span>{words.many(number(event, "files") ?? 0)}</span>
        </button>
      </div>
      {open && event.content !== "" && (
        <ul class="s-list">
          {lines.slice(0, NAMES).map((text) => {
            const [op = "", path = ""] = [text.slice(0, text.indexOf(" ")), text.slice(text.indexOf(" ") + 1)];
            return words.ops[op] === undefined ? (
              <li>{line(text, 200)}</li>
            ) : (
              <li>
                <span class={`s-op ${op}`}>{words.ops[op]}</span> <Path path={path} />
              </li>
            );
          })}
          {lines.length > NAMES && <li class="s-faint">{words.folderCut(lines.length - NAMES)}</li>}
        </ul>
      )}
    </div>
  );
}

function Point({ event, name }: Props): JSX.Element {
  const { actions } = useShared();
  const point = pointNumber(event);
  const told = value(event, "reason") ?? event.content;
  const reason = words.reasons[told] ?? line(told, 160);
  const uncovered = number(event, "uncovered-in-all") ?? tags(event, "uncovered").length;
  const openFile = actions.openFile;
  return (
    <div class="s-point">
      <div class="s-point-line" title={words.pointOnLine}>
        <span>
          <strong>{point === undefined ? words.aPoint : words.point(point)}</strong>{" "}
          <span class="s-faint">{reason}</span>
          {uncovered > 0 && (
            <span
              class="s-chip"
              title={tags(event, "uncovered").map((tag) => line(tag.slice(1).join(": "), 120)).join("\n")}
            >
              {words.uncovered(uncovered)}
            </span>
          )}
        </span>
        {point !== undefined && (
          <span class="s-meta">
            {openFile !== undefined && (
              <button type="button" class="s-button small" title={words.filesAt(point)} onClick={() => openFile("", point)}>
                <Icon name="folder" />
                {words.files}
              </button>
            )}
            <UndoButton point={point} name={`${name}:undo`} label={words.undoHere} title={words.undoHereLong(point)} />
          </span>
        )}
      </div>
      {point !== undefined && <Undo point={point} name={`${name}:undo`} />}
    </div>
  );
}

function WentBack({ event, name }: Props): JSX.Element {
  const { story } = useShared();
  const from = story.pointOf(value(event, "from"));
  return (
    <div class="s-point">
      <div class="s-point-line">
        <strong>{words.wentBack(line(value(event, "to") ?? "", 12))}</strong>
        {from !== undefined && (
          <span class="s-meta">
            <UndoButton point={from} name={`${name}:undo`} label={words.undoUndo} />
          </span>
        )}
      </div>
      {from !== undefined && <Undo point={from} name={`${name}:undo`} />}
    </div>
  );
}

function Problem({ event, name }: Props): JSX.Element {
  const [text, cut] = useWhole(event, name, event.content || (value(event, "alt") ?? ""));
  const goesOn = value(event, "recoverable") === "true";
  return (
    <div class={`s-notice ${goesOn ? "warn" : "bad"}`}>
      <p class="s-label">
        {goesOn ? words.problem : words.failed}
        <span class="s-chip">{line(value(event, "code") ?? "", 40)}</span>
      </p>
      <Output name={`${name}:out`} text={text} most={OUTPUT} label={words.problem} />
      {cut}
    </div>
  );
}

/** "The agent says it wrote a.txt, but nothing changed there." */
const UNKEPT = /^The agent says (?:that )?it (.+), but nothing changed there\.$/s;

function Differs({ event }: Props): JSX.Element {
  const did = UNKEPT.exec(event.content)?.[1];
  return (
    <div class="s-notice warn s-differs">
      <p class="s-label">{words.differs}</p>
      {did === undefined ? (
        <p>{line(event.content, 600)}</p>
      ) : (
        <dl>
          <div>
            <dt>{words.theAgentSaid}</dt>
            <dd>{words.itSays(line(did, 300))}</dd>
          </div>
          <div>
            <dt>{words.whatHappened}</dt>
            <dd>{words.nothingChanged}</dd>
          </div>
        </dl>
      )}
    </div>
  );
}

function Question({ event, name }: Props): JSX.Element {
  const { actions, memory, story } = useShared();
  const answered = story.answerTo(event);
  const sent = memory.get<Async<void>>(`${name}:sent`);
  const until = number(event, "until");
  const answer = actions.answer;
  const waits = answered === undefined && answer !== undefined;
  return (
    <div class={`s-notice ask ${waits ? "waits" : ""}`}>
      <p class="s-label">{waits ? words.asks : words.askedBefore}</p>
      <Output name={`${name}:out`} text={event.content || (value(event, "alt") ?? "")} most={OUTPUT} label={words.asks} />
      {waits && (
        <div class="u-buttons">
          {options(event).slice(0, 8).map((option) => (
            <button
              type="button"
              class={`s-button ${option.kind.startsWith("allow") ? "primary" : ""}`}
              disabled={sent?.state === "busy" || sent?.state === "done"}
              onClick={() => void memory.run(`${name}:sent`, () => answer(event.id, option.id))}
            >
              {line(option.name, 80) || (words.kinds[option.kind] ?? line(option.id, 40))}
            </button>
          ))}
        </div>
      )}
      {sent?.state === "busy" && <p role="status">{words.answering}</p>}
      {sent?.state === "failed" && <p class="u-bad">{sent.why || words.undoFailed}</p>}
      {waits && until !== undefined && <p class="s-faint">{words.until(timeOfDay(until))}</p>}
    </div>
  );
}

function Answer({ event }: Props): JSX.Element {
  const [option] = options(event);
  const by = words.answeredBy[value(event, "by") ?? ""] ?? words.answered;
  const said = option === undefined ? "" : line(option.name, 80) || (words.kinds[option.kind] ?? line(option.id, 40));
  return (
    <p class="s-quiet">
      {by}
      {said !== "" && (
        <>
          : <strong>{said}</strong>
        </>
      )}
    </p>
  );
}

function Serve({ event, name }: Props): JSX.Element {
  const { actions, memory } = useShared();
  const port = number(event, "port");
  const closed = tag(event, "closed") !== undefined;
  const opened = memory.get<Async<void>>(`${name}:opened`);
  const preview = actions.preview;
  const shownPort = line(value(event, "port") ?? "", 8);
  return (
    <div class="s-point-line">
      <span>{closed ? words.listened(shownPort) : <strong>{words.listens(shownPort)}</strong>}</span>
      {!closed && port !== undefined && preview !== undefined && (
        <span class="s-meta">
          {opened?.state === "failed" && <span class="u-bad">{opened.why || words.undoFailed}</span>}
          <button
            type="button"
            class="s-button small"
            disabled={opened?.state === "busy"}
            onClick={() => void memory.run(`${name}:opened`, () => preview(port))}
          >
            <Icon name="open" />
            {opened?.state === "busy" ? words.opening : words.open}
          </button>
        </span>
      )}
    </div>
  );
}

function Control({ event }: Props): JSX.Element {
  if (isAction(event, "pause")) return <p class="s-quiet">{words.paused}</p>;
  if (isAction(event, "resume")) return <p class="s-quiet">{words.resumed}</p>;
  return (
    <div class="s-asked">
      <p class="s-label">{words.steered}</p>
      <p class="s-plain">{visible(event.content)}</p>
    </div>
  );
}

function Ended({ event }: Props): JSX.Element {
  const { story } = useShared();
  const how = outcome(event);
  const ending = words.endings[value(event, "ending") ?? ""];
  const numbers = (name: string): number => number(event, name) ?? 0;
  // A session stays open for a while after its last answer; what counts is how long it was at work.
  const { turnMs, commandMs } = story.totals;
  const ms = Math.max(turnMs, commandMs);
  const said = [
    ms > 0 ? took(ms) : lasted(numbers("duration_s")),
    words.actions(numbers("actions")),
    numbers("tokens") > 0 ? tokens(numbers("tokens")) : "",
    numbers("errors") > 0 ? words.problems(numbers("errors")) : "",
  ].filter((text) => text !== "");
  return (
    <div class={`s-ended ${how === "success" ? "good" : how === "partial" ? "warn" : "bad"}`}>
      <p>
        <span>
          <strong>{words.outcomes[how] ?? line(how, 40)}</strong>
          {ending !== undefined && how !== "success" && `: ${ending}`}
        </span>
        <span class="s-cost">{said.join(" · ")}</span>
      </p>
      {event.content.trim() !== "" && <p class="s-faint">{line(event.content, 400)}</p>}
    </div>
  );
}

/** Records that are missing between two others. */
export function Gap({ from, to }: { from: NEvent | undefined; to: NEvent | undefined }): JSX.Element {
  const [before, after] = [from && number(from, "seq"), to && number(to, "seq")];
  const missing = before === undefined || after === undefined ? 0 : after - before - 1;
  return <p class="s-gap">{words.gap(missing)}</p>;
}
