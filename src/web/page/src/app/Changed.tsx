// What is different between two states of the files.

import { useMemo } from "preact/hooks";

import type { DiffAnswer } from "../nostr/workspace";
import { Context, Memory, type Shared } from "../story/context";
import { Changes } from "../story/Diff";
import { Story as Model } from "../story/model";
import { line } from "../story/text";
import { words } from "../words/app";

export function Changed({ diff, working }: { diff: DiffAnswer; working: boolean }) {
  const shared = useMemo<Shared>(
    () => ({ story: new Model(), actions: {}, plain: undefined, began: 0, shared: false, linkTo: undefined, suspect: undefined, memory: new Memory() }),
    [],
  );
  const out = diff.left_out_in_all ?? diff.left_out?.length ?? 0;
  return (
    <Context.Provider value={shared}>
      {diff.changed === 0 && out === 0 && <p class="muted">{working ? words.changes.noneYet : words.changes.none}</p>}
      {diff.text !== "" && <Changes text={diff.text} name="all" />}
      {diff.cut && <p class="muted">{words.changes.cut}</p>}
      {out > 0 && (
        <details>
          <summary>{words.changes.leftOut(out)}</summary>
          <ul class="plain">
            {diff.left_out?.map((path) => (
              <li key={path}>{line(path, 300)}</li>
            ))}
          </ul>
        </details>
      )}
    </Context.Provider>
  );
}
