// Back to an earlier state: first what would change, then the change, then how to undo that.

import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";

import { words } from "../words/story";
import { type Async, type DiffAnswer, type UndoAnswer, useKept, useShared } from "./context";
import { Changes, Counts } from "./Diff";
import { Icon, Path } from "./parts";

/** Names that are listed when there is no text to show. */
const LISTED = 50;

/** Asks whether to bring a checkpoint back; `name` is under which it is kept how far that went. */
export function Undo({ point, name }: { point: number; name: string }): JSX.Element | null {
  const { actions, memory } = useShared();
  const [open, setOpen] = useKept<number | false>(`${name}:open`, false);
  const preview = memory.get<Async<DiffAnswer>>(`${name}:preview`);
  const done = memory.get<Async<UndoAnswer | void>>(`${name}:done`);
  const panel = useRef<HTMLDivElement>(null);
  const shown = `${String(open)} ${preview?.state ?? ""} ${done?.state ?? ""}`;
  const first = useRef(shown);
  useEffect(() => {
    // What one asked for is brought into sight, and not what was open already.
    if (first.current !== shown) panel.current?.scrollIntoView({ block: "nearest" });
    first.current = shown;
  }, [shown]);
  if (open === false) return null;
  const to = open === 0 ? point : open;
  const undo = (): void => void memory.run(`${name}:done`, async () => await actions.undoTo?.(to));
  const close = (): void => {
    setOpen(false);
    memory.set(`${name}:done`, undefined);
  };
  if (done?.state === "done") {
    const before = done.value?.before;
    return (
      <div class="u-panel" ref={panel} role="group" aria-label={words.undoTitle(to)}>
        <p role="status">
          <Icon name="check" /> {words.undoDone(to)}
        </p>
        <div class="u-buttons">
          {before !== undefined && (
            <button
              type="button"
              class="s-button"
              onClick={() => {
                memory.set(`${name}:done`, undefined);
                ask(memory, actions.previewUndo, name, before);
              }}
            >
              {words.undoUndo}
            </button>
          )}
          <button type="button" class="s-link" onClick={close}>
            {words.collapse}
          </button>
        </div>
      </div>
    );
  }
  const busy = done?.state === "busy";
  return (
    <div class="u-panel" ref={panel} role="group" aria-label={words.undoTitle(to)} aria-busy={busy || preview?.state === "busy"}>
      <p class="u-title">{words.undoTitle(to)}</p>
      {preview?.state === "busy" && <p role="status">{words.undoLooking}</p>}
      {preview?.state === "failed" && <p class="u-bad">{preview.why || words.undoFailed}</p>}
      {preview?.state === "done" && <Preview answer={preview.value} name={`${name}:${to}`} />}
      {done?.state === "failed" && (
        <p class="u-bad" role="alert">
          {done.why || words.undoFailed}
        </p>
      )}
      <div class="u-buttons">
        {(preview?.state !== "done" || preview.value.changed > 0) && (
          <button type="button" class="s-button primary" disabled={busy || preview?.state === "busy"} onClick={undo}>
            {busy ? words.undoDoing : words.undoDo}
          </button>
        )}
        <button type="button" class="s-button" disabled={busy} onClick={close}>
          {words.cancel}
        </button>
      </div>
    </div>
  );
}

function Preview({ answer, name }: { answer: DiffAnswer; name: string }): JSX.Element {
  const leftOut = answer.left_out_in_all ?? answer.left_out?.length ?? 0;
  const named = answer.text === "" ? answer.files.slice(0, LISTED) : [];
  return (
    <>
      <p>
        {words.undoWhat(answer.changed)} {answer.changed > 0 && words.undoSafe}
      </p>
      {answer.text !== "" && <Changes text={answer.text} name={name} />}
      {named.length > 0 && (
        <ul class="u-files">
          {named.map((file) => (
            <li>
              <Path path={file.path} /> <Counts added={file.added} removed={file.removed} />
            </li>
          ))}
        </ul>
      )}
      {(answer.cut || answer.files.length < answer.changed) && <p class="s-faint">{words.cutDiff}</p>}
      {leftOut > 0 && <p class="s-faint">{words.undoLeftOut(leftOut)}.</p>}
    </>
  );
}

function ask(
  memory: ReturnType<typeof useShared>["memory"],
  look: ((point: number) => Promise<DiffAnswer>) | undefined,
  name: string,
  to: number,
): void {
  memory.set(`${name}:open`, to);
  memory.set(`${name}:preview`, undefined);
  if (look !== undefined) void memory.run(`${name}:preview`, () => look(to));
}

/** Opens the question above, or closes it. */
export function UndoButton(props: { point: number; name: string; label: string; title?: string }): JSX.Element | null {
  const { actions, memory } = useShared();
  const [open, setOpen] = useKept<number | false>(`${props.name}:open`, false);
  if (actions.undoTo === undefined) return null;
  const toggle = (): void => {
    if (open === false) ask(memory, actions.previewUndo, props.name, props.point);
    else setOpen(false);
  };
  return (
    <button type="button" class="s-button small" aria-expanded={open !== false} title={props.title} onClick={toggle}>
      <Icon name="undo" />
      {props.label}
    </button>
  );
}
