// The field in which a person writes: to start something, to go on with it, to steer it.

import { type Signal, useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";

import { words } from "../words/app";
import { AttachButton, AttachedList, type Attachments, pasted, useDrop } from "./attach";
import { Button, sends, useGrowing } from "./ui";

interface FieldProps {
  text: Signal<string>;
  label: string;
  /** The label is a heading elsewhere on the page. */
  labelledBy?: string;
  placeholder: string;
  send: string;
  onSend: () => void;
  busy: boolean;
  files?: Attachments;
  /** What files are added for. */
  attach?: string;
  /** It cannot be sent as it is; why stands beside it. */
  blocked?: boolean;
  rows?: number;
  /** Controls between field and button. */
  children?: ComponentChildren;
  /** Below the field, above the buttons. */
  middle?: ComponentChildren;
  focus?: boolean;
}

export function Field(props: FieldProps) {
  const field = useRef<HTMLTextAreaElement>(null);
  const over = useSignal(false);
  useGrowing(field, props.text.value);
  useDrop(props.files, over);
  useEffect(() => {
    if (props.focus === true && matchMedia("(pointer: fine)").matches) field.current?.focus();
  }, [props.focus]);
  const ready = props.text.value.trim() !== "" && props.files?.busy !== true && props.blocked !== true;
  return (
    <form
      class={`field ${over.value ? "over" : ""}`}
      onSubmit={(event) => {
        event.preventDefault();
        if (ready && !props.busy) props.onSend();
      }}
    >
      <textarea
        ref={field}
        data-field
        rows={props.rows ?? 1}
        aria-label={props.labelledBy === undefined ? props.label : undefined}
        aria-labelledby={props.labelledBy}
        placeholder={props.placeholder}
        value={props.text.value}
        spellcheck
        onInput={(event) => (props.text.value = event.currentTarget.value)}
        onPaste={(event) => props.files !== undefined && pasted(event, props.files)}
        onKeyDown={(event) => {
          if (!sends(event)) return;
          event.preventDefault();
          if (ready && !props.busy) props.onSend();
        }}
      />
      {over.value && <p class="drop">{words.start.drop}</p>}
      {props.files !== undefined && <AttachedList to={props.files} />}
      {props.middle}
      <div class="bar">
        {props.files !== undefined && <AttachButton to={props.files} title={props.attach} />}
        {props.children}
        <Button submit kind="primary" icon="send" busy={props.busy} disabled={!ready}>
          {props.busy ? words.start.sending : props.send}
        </Button>
      </div>
    </form>
  );
}
