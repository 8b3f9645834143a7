// The story alone in a page, fed by a test: `window.story`.

import "../../../src/web/page/src/style/base.css";
import "../../../src/web/page/src/style/story.css";

import { signal } from "@preact/signals";
import { render } from "preact";

import type { NEvent } from "../../../src/web/page/src/nostr/records";
import type { DiffAnswer, StoryActions } from "../../../src/web/page/src/story/context";
import { Files } from "../../../src/web/page/src/story/Files";
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
    /** Files by their paths, as of any checkpoint; a folder's entries come two at a time. */
    showFiles: (files: Record<string, string>) => {
      const source = {
        list: async (at: number | undefined, folder: string, offset: number) => {
          calls.push(["list", at, folder, offset]);
          const inside = Object.keys(files).filter((path) => folder === "" || path.startsWith(`${folder}/`));
          const names = [...new Set(inside.map((path) => path.slice(folder === "" ? 0 : folder.length + 1).split("/")[0] ?? ""))];
          const entries = names.map((name) => {
            const path = folder === "" ? name : `${folder}/${name}`;
            const text = files[path];
            return { path, kind: text === undefined ? "folder" : "file", size: text?.length ?? 0 };
          });
          const next = offset + 2;
          return { entries: entries.slice(offset, next), total: entries.length, next: next < entries.length ? next : null };
        },
        read: async (at: number | undefined, path: string, offset: number) => {
          calls.push(["read", at, path, offset]);
          const text = files[path] ?? "";
          if (text.startsWith("\0")) return { base64: "AAAA", size: text.length };
          const next = offset + 1000;
          return { text: text.slice(offset, next), size: text.length, next: next < text.length ? next : null };
        },
      };
      const points = [{ number: 1, reason: "the project as it was" }, { number: 2, reason: "after the turn" }];
      render(<Files source={source} points={points} at={2} path="" />, document.getElementById("app") as HTMLElement);
    },
    show: (props: Partial<StoryProps> & { bare?: boolean }) => {
      const root = document.getElementById("app") as HTMLElement;
      const { bare, ...rest } = props;
      render(<Story events={events} live={live} plain={plain} {...(bare ? {} : { actions })} {...rest} />, root);
    },
  },
});
