// Beside a conversation: what changed in the agent's copy, the states that can be brought back, and what to do
// with it.

import { type Signal, signal, useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";

import { TaskError } from "../nostr/jobs";
import { kind } from "../nostr/records";
import type { CheckpointsAnswer, DiffAnswer, LocateAnswer, UndoAnswer } from "../nostr/workspace";
import { line, pathParts } from "../story/text";
import { words } from "../words/app";
import { words as story } from "../words/story";
import { ApplyDialog, TakeBack } from "./Apply";
import { Changed } from "./Changed";
import { type Conversation, isOpen, type Job } from "./conversations";
import { DiscardDialog } from "./Discard";
import type { Feed } from "./feed";
import type { LooksAt } from "./FilesDialog";
import { Icon } from "./icons";
import { preference } from "./keep";
import { now } from "./state";
import { openLater } from "./tabs";
import * as tasks from "./tasks";
import { Busy, Button, Command, Dialog, Problem, sentence } from "./ui";

const sideOpen = preference("side");
/** Where it lies above the page it begins closed, each time. */
const narrowOpen = signal(false);
const isNarrow = (): boolean => matchMedia("(max-width: 1200px)").matches;

/** Whether the panel is there. */
export const showsSide = (): boolean =>
  isNarrow() ? narrowOpen.value : sideOpen.value !== "no";

/** Whether the panel lies above the story. */
export const hidesStory = (): boolean => isNarrow() && narrowOpen.value;

export function showSide(show: boolean): void {
  if (isNarrow()) narrowOpen.value = show;
  else sideOpen.value = show ? "yes" : "no";
}

const tab = signal<"changes" | "checkpoints">("changes");
const TABS = ["changes", "checkpoints"] as const;

/** How long after a change the copy is looked at again. */
const SETTLE = 700;

interface SideProps {
  feed: Feed;
  conversation: Conversation;
  job: Job;
  looksAt: Signal<LooksAt | undefined>;
}

export function Side({ feed, conversation, job, looksAt }: SideProps) {
  const session = feed.session.value;
  const diff = useSignal<DiffAnswer | undefined>(undefined);
  const points = useSignal<CheckpointsAnswer | undefined>(undefined);
  const problem = useSignal("");
  /** Why there is no copy, if there is none. */
  const gone = useSignal<"" | "gone" | "no-copy">("");
  const undone = useSignal<UndoAnswer | undefined>(undefined);
  const home = useSignal(false);
  const open = useSignal<"" | "apply" | "take-back" | "discard" | "where">("");
  const again = useSignal(0);
  // Each checkpoint is a state that differs from the one before.
  const point = feed.events.value.findLast((event) => event.kind === kind.checkpoint)?.id ?? "";
  useEffect(() => {
    if (session === undefined) return;
    let over = false;
    const timer = setTimeout(
      () => {
        Promise.all([tasks.diff(session), tasks.checkpoints(session)])
          .then(
            async ([found, states]) => {
              // What was applied is no difference any more, and yet it was done.
              const all = found.changed === 0 && states.checkpoints.length > 1 ? await tasks.diff(session, 1) : found;
              if (over) return;
              home.value = all.changed > found.changed;
              diff.value = found;
              points.value = states;
              problem.value = "";
            },
            (error: unknown) => {
              if (over) return;
              const code = error instanceof TaskError ? error.code : "";
              if (code === "gone" || code === "no-copy") gone.value = code;
              else problem.value = sentence(error);
            },
          );
      },
      diff.value === undefined ? 0 : SETTLE,
    );
    return () => {
      over = true;
      clearTimeout(timer);
    };
  }, [session, point, again.value, isOpen(job.state)]);

  const refresh = (): void => {
    again.value += 1;
  };
  const close = (): void => {
    open.value = "";
    refresh();
  };
  const found = diff.value;
  const project = found?.project ?? conversation.project;
  const changed = found?.changed ?? 0;
  const applied = (found?.earlier ?? 0) > 0;
  const isHome = home.value || (applied && changed === 0);
  const where = project === undefined ? words.changes.newFolder : isHome ? "" : applied ? words.changes.someYours : words.changes.yours;
  const shows = pageIn(found);
  return (
    <aside class="side" aria-label={words.session.side}>
      <header>
        <div class="tabs" role="tablist">
          {TABS.map((name) => (
            <button
              key={name}
              type="button"
              role="tab"
              id={`tab-${name}`}
              aria-selected={tab.value === name}
              aria-controls="side-panel"
              tabIndex={tab.value === name ? 0 : -1}
              onClick={() => (tab.value = name)}
              onKeyDown={(event) => {
                if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
                tab.value = tab.value === "changes" ? "checkpoints" : "changes";
                document.getElementById(`tab-${tab.value}`)?.focus();
              }}
            >
              {name === "changes" ? words.changes.title : words.checkpoints.title}
              {name === "changes" && changed > 0 && <b>{changed}</b>}
            </button>
          ))}
        </div>
        <Button icon="close" kind="quiet" label={words.close} onClick={() => showSide(false)} />
      </header>
      <div class="panel" role="tabpanel" id="side-panel" aria-labelledby={`tab-${tab.value}`} tabIndex={0}>
        {problem.value !== "" && (
          <Problem text={problem.value}>
            <Button onClick={refresh}>{words.retry}</Button>
          </Problem>
        )}
        {session === undefined && !isOpen(job.state) ? (
          <p class="muted">{words.changes.noCopy}</p>
        ) : gone.value !== "" ? (
          <p class="muted">{gone.value === "gone" ? words.changes.gone : words.changes.noCopy}</p>
        ) : found === undefined || points.value === undefined ? (
          problem.value === "" && <Busy text={words.changes.looking} />
        ) : tab.value === "changes" ? (
          isHome ? (
            <p class="good">{words.changes.home}</p>
          ) : (
            <Changed diff={found} working={isOpen(job.state)} />
          )
        ) : (
          <Points answer={points.value} session={session ?? ""} done={undone} onDone={refresh} />
        )}
      </div>
      {found !== undefined && gone.value === "" && (
        <footer>
          {where !== "" && <p class="muted">{where}</p>}
          <div class="row">
            {project !== undefined && (
              <Button kind="primary" icon="check" disabled={changed === 0} onClick={() => (open.value = "apply")}>
                {words.changes.apply}
              </Button>
            )}
            {shows !== undefined && session !== undefined && (
              <Button
                icon="tab"
                onClick={() => {
                  problem.value = "";
                  openLater(() => tasks.previewFiles(session, shows)).catch((error: unknown) => (problem.value = sentence(error)));
                }}
              >
                {words.changes.look}
              </Button>
            )}
            <Button icon="file" onClick={() => (looksAt.value = { path: "", at: undefined })}>
              {words.changes.allFiles}
            </Button>
          </div>
          <div class="row">
            <Button kind="quiet" icon="folder" onClick={() => (open.value = "where")}>
              {words.changes.where}
            </Button>
            {applied && (
              <Button kind="quiet" icon="undo" onClick={() => (open.value = "take-back")}>
                {words.changes.takeBack}
              </Button>
            )}
            <Button kind="quiet" icon="trash" disabled={isOpen(job.state)} onClick={() => (open.value = "discard")}>
              {words.changes.discard}
            </Button>
          </div>
        </footer>
      )}
      {session !== undefined && open.value === "apply" && <ApplyDialog session={session} onClose={close} />}
      {session !== undefined && open.value === "take-back" && <TakeBack session={session} onClose={close} />}
      {session !== undefined && open.value === "discard" && (
        <DiscardDialog
          session={session}
          onClose={(done) => {
            open.value = "";
            if (done) gone.value = "gone";
          }}
        />
      )}
      {session !== undefined && open.value === "where" && <Where session={session} onClose={() => (open.value = "")} />}
    </aside>
  );
}

/** The folder of a web page among what changed: it can be looked at as it is. */
function pageIn(diff: DiffAnswer | undefined): string | undefined {
  const pages = diff?.files.filter((file) => file.op !== "delete" && /(^|\/)index\.html?$/.test(file.path)).map((file) => file.path) ?? [];
  const top = pages.sort((a, b) => a.split("/").length - b.split("/").length)[0];
  return top?.replace(/\/?index\.html?$/, "");
}

function Points(props: { answer: CheckpointsAnswer; session: string; done: Signal<UndoAnswer | undefined>; onDone: () => void }) {
  const { answer, session, done, onDone } = props;
  const busy = useSignal<number | undefined>(undefined);
  const preview = useSignal<{ to: number; diff: DiffAnswer } | undefined>(undefined);
  const problem = useSignal("");
  const fail = (error: unknown): void => {
    busy.value = undefined;
    problem.value = sentence(error);
  };
  const look = (to: number): void => {
    busy.value = to;
    problem.value = "";
    done.value = undefined;
    tasks.previewUndo(session, to).then((diff) => {
      busy.value = undefined;
      preview.value = { to, diff };
      // What is there now may have become a checkpoint.
      onDone();
    }, fail);
  };
  const bring = (to: number): void => {
    preview.value = undefined;
    busy.value = to;
    tasks.undo(session, to).then((answer) => {
      busy.value = undefined;
      done.value = answer;
      onDone();
    }, fail);
  };
  const all = [...answer.checkpoints].reverse();
  const earlier = answer.earlier ?? 0;
  return (
    <>
      <p class="muted">{words.checkpoints.lead}</p>
      {problem.value !== "" && <Problem text={problem.value} />}
      {done.value !== undefined && (
        <div class="note" role="status">
          <p>{words.checkpoints.done(done.value.to, done.value.written, done.value.removed)}</p>
          <Button icon="undo" onClick={() => bring(done.value?.before ?? 0)}>
            {words.checkpoints.undoUndo}
          </Button>
        </div>
      )}
      {all.length === 0 && <p class="muted">{words.checkpoints.none}</p>}
      <ol class="points">
        {all.map((point, at) => (
          <li key={point.number} class={at === 0 ? "now" : ""}>
            <div>
              <strong>{words.checkpoints.number(point.number)}</strong>
              <small>{at === 0 ? words.checkpoints.now : words.ago(now.value - point.at)}</small>
              <p>
                {story.reasons[point.reason] ?? line(point.reason, 120)} · {words.checkpoints.changed(point.changed)}
              </p>
            </div>
            {at > 0 && (
              <Button icon="undo" kind="quiet" busy={busy.value === point.number} onClick={() => look(point.number)}>
                {words.checkpoints.undo}
              </Button>
            )}
          </li>
        ))}
      </ol>
      {earlier > 0 && <p class="muted">{words.checkpoints.earlier(earlier)}</p>}
      {preview.value !== undefined && <Preview preview={preview as Signal<{ to: number; diff: DiffAnswer }>} onBring={bring} />}
    </>
  );
}

function Preview({ preview, onBring }: { preview: Signal<{ to: number; diff: DiffAnswer } | undefined>; onBring: (to: number) => void }) {
  const shown = preview.value;
  if (shown === undefined) return null;
  const close = (): void => {
    preview.value = undefined;
  };
  return (
    <Dialog
      wide
      title={words.checkpoints.sure(shown.to)}
      onClose={close}
      foot={
        <>
          <Button onClick={close}>{words.cancel}</Button>
          <Button kind="primary" icon="undo" onClick={() => onBring(shown.to)}>
            {words.checkpoints.undo}
          </Button>
        </>
      }
    >
      <p>{words.checkpoints.safe}</p>
      <Changed diff={shown.diff} working={false} />
    </Dialog>
  );
}

function Where({ session, onClose }: { session: string; onClose: () => void }) {
  const found = useSignal<LocateAnswer | undefined>(undefined);
  const problem = useSignal("");
  useEffect(() => {
    tasks.locate(session).then(
      (answer) => (found.value = answer),
      (error: unknown) => (problem.value = sentence(error)),
    );
  }, [session]);
  const path = found.value?.path ?? "";
  return (
    <Dialog title={words.changes.where} onClose={onClose}>
      {problem.value !== "" && <Problem text={problem.value} />}
      {found.value === undefined && problem.value === "" && <Busy text={words.loading} />}
      {path !== "" && (
        <>
          <p>
            <Icon name="folder" /> {pathParts(path)[1]}
          </p>
          <Command text={line(path, 1000)} />
          {found.value?.agents_git === true && <p class="note warn">{words.changes.whereGit}</p>}
        </>
      )}
    </Dialog>
  );
}
