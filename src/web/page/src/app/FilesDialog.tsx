// The files of a copy, at any checkpoint.

import { useSignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";

import type { CheckpointLine } from "../nostr/workspace";
import { Files } from "../story/Files";
import { words } from "../words/app";
import * as tasks from "./tasks";
import { Dialog } from "./ui";

/** A file, or with an empty path all of them, as of a checkpoint; undefined is now. */
export interface LooksAt {
  path: string;
  at: number | undefined;
}

export function FilesDialog({ session, looksAt, onClose }: { session: string; looksAt: LooksAt; onClose: () => void }) {
  const points = useSignal<CheckpointLine[]>([]);
  const source = useMemo(() => tasks.filesOf(session), [session]);
  useEffect(() => {
    tasks.checkpoints(session).then(
      (answer) => (points.value = answer.checkpoints),
      () => {},
    );
  }, [session]);
  return (
    <Dialog wide tall title={words.changes.allFiles} onClose={onClose}>
      <Files source={source} points={points.value} at={looksAt.at} path={looksAt.path} />
    </Dialog>
  );
}
