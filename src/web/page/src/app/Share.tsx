// A session as a file to show to others.

import { useSignal } from "@preact/signals";

import { share } from "../nostr/api";
import { words } from "../words/app";
import { Button, Dialog, Problem, Said, sentence } from "./ui";

type Form = "html" | "jsonl";

export function ShareDialog({ session, hidden, onClose }: { session: string; hidden: boolean; onClose: () => void }) {
  const busy = useSignal<Form | "">("");
  const problem = useSignal("");
  const save = async (form: Form): Promise<void> => {
    busy.value = form;
    problem.value = "";
    try {
      const url = URL.createObjectURL(await share(session, form));
      const link = document.createElement("a");
      link.href = url;
      link.download = `treefort-${session.slice(0, 8)}.${form}`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(url), 60_000);
    } catch (error) {
      problem.value = sentence(error);
    }
    busy.value = "";
  };
  return (
    <Dialog title={words.share.title} onClose={onClose}>
      <p>{words.share.lead}</p>
      {hidden && <p class="note">{words.share.private}</p>}
      {problem.value !== "" && <Problem text={problem.value} />}
      <ul class="options">
        <li>
          <div>
            <strong>{words.share.html}</strong>
            <p>{words.share.htmlText}</p>
          </div>
          <Button icon="down" kind="primary" busy={busy.value === "html"} onClick={() => void save("html")}>
            {words.share.save}
          </Button>
        </li>
        <li>
          <div>
            <strong>{words.share.jsonl}</strong>
            <p>
              <Said text={words.share.jsonlText} />
            </p>
          </div>
          <Button icon="down" busy={busy.value === "jsonl"} onClick={() => void save("jsonl")}>
            {words.share.save}
          </Button>
        </li>
      </ul>
    </Dialog>
  );
}
