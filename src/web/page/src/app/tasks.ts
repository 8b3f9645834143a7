// What the owner asks of a copy that an agent worked on.

import { task } from "../nostr/jobs";
import type {
  ApplyAnswer,
  CheckpointsAnswer,
  CleanAnswer,
  DiffAnswer,
  DiscardAnswer,
  ListAnswer,
  LocateAnswer,
  PlanAnswer,
  PurgeAnswer,
  TakeBackAnswer,
  UndoAnswer,
} from "../nostr/workspace";
import type { FileAnswer, FilesAnswer, FilesSource } from "../story/Files";
import { store } from "./state";

type Params = Record<string, string | number | undefined>;

function run<T>(word: string, params: Params, more: string[][] = []): Promise<T> {
  const known = store.value;
  if (known === undefined) return Promise.reject(new Error());
  return task<T>(known.relay, known.coordinator, word, params, more);
}

export const diff = (session: string, from?: number | string, to?: number | string): Promise<DiffAnswer> => run("diff", { session, from, to });
export const checkpoints = (session: string): Promise<CheckpointsAnswer> => run("checkpoints", { session });
export const undo = (session: string, to: number): Promise<UndoAnswer> => run("undo", { session, to });
export const plan = (session: string): Promise<PlanAnswer> => run("plan", { session });
export const apply = (session: string, plan: string): Promise<ApplyAnswer> => run("apply", { session, plan });
export const takeBack = (session: string): Promise<TakeBackAnswer> => run("take-back", { session });
export const discard = (session: string): Promise<DiscardAnswer> => run("discard", { session });
export const locate = (session: string): Promise<LocateAnswer> => run("locate", { session });
export const list = (): Promise<ListAnswer> => run("list", {});
export const clean = (copies: string[], images: boolean): Promise<CleanAnswer> =>
  run(
    "clean",
    { images: images ? "true" : undefined },
    copies.map((copy) => ["param", "copy", copy]),
  );

/** Ids that one task names; what they belong to goes with them. */
const TARGETS = 300;

/** Deletes the conversations of these jobs for good, or says what would go. */
export const purge = (jobs: string[], look: boolean): Promise<PurgeAnswer> =>
  run(
    "purge",
    { conversation: "true", look: look ? "true" : undefined },
    jobs.slice(0, TARGETS).map((job) => ["param", "target", job]),
  );

/** What is in a copy, for who looks at its files. */
export const filesOf = (session: string): FilesSource => ({
  list: (at, path, offset) => run<FilesAnswer>("files", { session, at, path: path === "" ? undefined : path, offset: offset === 0 ? undefined : offset }),
  read: (at, path, offset) => run<FileAnswer>("file", { session, at, path, offset: offset === 0 ? undefined : offset }),
});

/** What bringing a state back would change: from how it is now to how it was then. */
export async function previewUndo(session: string, to: number): Promise<DiffAnswer> {
  // Whoever lists what is there now has it kept as a checkpoint first, if anything changed since the last one.
  const now = await run<{ checkpoint: number }>("files", { session });
  return await diff(session, now.checkpoint, to);
}

/** Where what an agent's program serves can be looked at, or files of the copy: an origin of its own on this computer. */
async function previewAt(session: string, params: Params): Promise<string> {
  const { url } = await run<{ url: string }>("preview", { session, ...params });
  const { protocol, hostname, origin } = new URL(url);
  const here = protocol === "http:" && /^(127\.\d+\.\d+\.\d+|\[::1\]|localhost|.+\.localhost)$/.test(hostname);
  if (!here || origin === location.origin) throw new Error();
  return url;
}

export const previewApp = (session: string, port: number): Promise<string> => previewAt(session, { port });
export const previewFiles = (session: string, path: string): Promise<string> =>
  previewAt(session, { static: "true", path: path === "" ? undefined : path });

export const answer = (question: string, option: string): Promise<unknown> => run("answer", { question, option });
export const pause = (session: string): Promise<unknown> => run("pause", { session });
export const resume = (session: string): Promise<unknown> => run("resume", { session });
export const steer = (session: string, text: string): Promise<unknown> => run("steer", { session }, [["i", text, "text"]]);
