// The story alone in a page, fed by a test: `window.story`.

import "../../../src/web/page/src/style/base.css";
import "../../../src/web/page/src/style/story.css";

import { signal } from "@preact/signals";
import { render } from "preact";

import type { NEvent } from "../../../src/web/page/src/nostr/records";
import type { DiffAnswer, StoryActions } from "../../../src/web/page/src/story/context";
import { Story, type StoryProps } from "../../../src/web/page/src/story/Story";

const events = signal<NEvent[]>([]);
const live = signal("");
const plain = signal(new Map<string, string | null>());
const calls: unknown[][] = [];
let preview: DiffAnswer = { files: [], changed: 0, text: "", cut: false };
let blob = "";

const actions: StoryActions = {
  undoTo: async (point) => {
    calls.push(["undo", point]);
    return { before: 9, to: point };
  },
  previewUndo: async () => preview,
  openFile: (path, at) => void calls.push(["open", path, at]),
  answer: async (question, option) => void calls.push(["answer", question, option]),
  blob: async () => blob,
  preview: async (port) => void calls.push(["preview", port]),
};

Object.assign(window, {
  story: {
    events,
    live,
    plain,
    calls,
    setPreview: (answer: DiffAnswer) => (preview = answer),
    setBlob: (text: string) => (blob = text),
    show: (props: Partial<StoryProps> & { bare?: boolean }) => {
      const root = document.getElementById("app") as HTMLElement;
      const { bare, ...rest } = props;
      render(<Story events={events} live={live} plain={plain} {...(bare ? {} : { actions })} {...rest} />, root);
    },
  },
});
