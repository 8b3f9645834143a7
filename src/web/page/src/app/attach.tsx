// Files that go with a question: dropped, pasted or chosen; kept by the program as soon as they are added.

import { type Signal, signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";

import { putFile } from "../nostr/api";
import type { Attachment } from "../nostr/jobs";
import { line } from "../story/text";
import { words } from "../words/app";
import { bytes } from "../words/story";
import { Icon } from "./icons";
import { Button, sentence } from "./ui";

const MAX_BYTES = 16 * 1024 * 1024;
const MAX_FILES = 20;

interface Part {
  name: string;
  /** 0 when it is not known any more. */
  size: number;
  /** Of an image, to look at. */
  url: string | undefined;
  sha256: string | undefined;
}

/** The files of one field. */
export class Attachments {
  readonly parts: Signal<Part[]> = signal([]);
  readonly problem = signal("");

  /** What goes into the job; only what was kept. */
  get kept(): Attachment[] {
    return this.parts.value.flatMap((part) => (part.sha256 === undefined ? [] : [{ sha256: part.sha256, name: part.name }]));
  }

  get busy(): boolean {
    return this.parts.value.some((part) => part.sha256 === undefined);
  }

  /** Whether a picture is among them. */
  get pictures(): boolean {
    return this.parts.value.some((part) => part.url !== undefined || /\.(png|jpe?g|gif|webp)$/i.test(part.name));
  }

  /** Files of an earlier question, which are kept already. */
  restore(files: Attachment[]): void {
    this.clear();
    this.parts.value = files.slice(0, MAX_FILES).map(({ sha256, name }) => ({ name, size: 0, url: undefined, sha256 }));
  }

  add(files: Iterable<File>): void {
    this.problem.value = "";
    for (const file of files) void this.addOne(file);
  }

  private async addOne(file: File): Promise<void> {
    const name = unique(file.name || `${file.type.split("/")[1] ?? "file"}`, this.parts.value.map((part) => part.name));
    if (this.parts.value.length >= MAX_FILES) {
      this.problem.value = words.start.tooMany;
      return;
    }
    if (file.size > MAX_BYTES) {
      this.problem.value = words.start.tooLarge(line(name, 60));
      return;
    }
    const url = /^image\/(png|jpeg|gif|webp)$/.test(file.type) ? URL.createObjectURL(file) : undefined;
    const part: Part = { name, size: file.size, url, sha256: undefined };
    this.parts.value = [...this.parts.value, part];
    try {
      const { sha256 } = await putFile(file, name);
      this.parts.value = this.parts.value.map((other) => (other === part ? { ...part, sha256 } : other));
    } catch (error) {
      this.problem.value = sentence(error);
      this.remove(part);
    }
  }

  remove(part: Part): void {
    if (part.url !== undefined) URL.revokeObjectURL(part.url);
    this.parts.value = this.parts.value.filter((other) => other !== part);
  }

  clear(): void {
    for (const part of this.parts.value) this.remove(part);
    this.problem.value = "";
  }
}

/** `a.txt`, `a (2).txt`: two files of one name would be one. */
function unique(name: string, taken: string[]): string {
  if (!taken.includes(name)) return name;
  const [, stem = name, ending = ""] = /^(.+?)(\.[^.]*)?$/.exec(name) ?? [];
  for (let n = 2; ; n += 1) {
    const other = `${stem} (${n})${ending}`;
    if (!taken.includes(other)) return other;
  }
}

export function AttachButton({ to, title }: { to: Attachments; title: string | undefined }) {
  const input = useRef<HTMLInputElement>(null);
  return (
    <>
      <Button icon="attach" kind="quiet" label={words.start.attach} title={title ?? words.start.attach} onClick={() => input.current?.click()} />
      <input
        ref={input}
        type="file"
        multiple
        hidden
        aria-hidden="true"
        tabIndex={-1}
        onChange={(event) => {
          to.add(event.currentTarget.files ?? []);
          event.currentTarget.value = "";
        }}
      />
    </>
  );
}

export function AttachedList({ to }: { to: Attachments }) {
  return (
    <>
      {to.problem.value !== "" && (
        <p class="hint bad" role="alert">
          {to.problem.value}
        </p>
      )}
      {to.parts.value.length > 0 && (
        <ul class="attached">
          {to.parts.value.map((part) => (
            <li key={part.name} class={part.sha256 === undefined ? "busy" : ""}>
              {part.url === undefined ? <Icon name="file" /> : <img src={part.url} alt="" />}
              <span class="name">{line(part.name, 60)}</span>
              {part.size > 0 && <small>{bytes(part.size)}</small>}
              <Button icon="close" kind="quiet" label={words.start.attached(line(part.name, 60))} onClick={() => to.remove(part)} />
            </li>
          ))}
        </ul>
      )}
    </>
  );
}

/** Files that are dropped anywhere on the page go to this field; whether any hover over it. */
export function useDrop(to: Attachments | undefined, over: Signal<boolean>): void {
  useEffect(() => {
    if (to === undefined) return;
    const hasFiles = (event: DragEvent): boolean => event.dataTransfer?.types.includes("Files") === true;
    const move = (event: DragEvent): void => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      over.value = true;
    };
    const leave = (event: DragEvent): void => {
      if (event.relatedTarget === null) over.value = false;
    };
    const drop = (event: DragEvent): void => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      over.value = false;
      to.add(event.dataTransfer?.files ?? []);
    };
    addEventListener("dragover", move);
    addEventListener("dragleave", leave);
    addEventListener("drop", drop);
    return () => {
      removeEventListener("dragover", move);
      removeEventListener("dragleave", leave);
      removeEventListener("drop", drop);
    };
  }, [to, over]);
}

/** Files in what is pasted. */
export function pasted(event: ClipboardEvent, to: Attachments): void {
  const files = event.clipboardData?.files;
  if (files === undefined || files.length === 0) return;
  event.preventDefault();
  to.add(files);
}
