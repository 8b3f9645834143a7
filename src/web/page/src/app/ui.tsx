// The few parts that all views are made of.

import { useSignal } from "@preact/signals";
import type { ComponentChildren, RefObject } from "preact";
import { useEffect, useId, useRef } from "preact/hooks";

import { words } from "../words/app";
import { isUnmet, type Standing, unmet } from "./conversations";
import { Icon, type IconName } from "./icons";

interface ButtonProps {
  children?: ComponentChildren;
  icon?: IconName;
  onClick?: () => void;
  kind?: "primary" | "quiet" | "danger" | "plain";
  disabled?: boolean;
  busy?: boolean;
  title?: string;
  label?: string;
  pressed?: boolean;
  expanded?: boolean;
  /** The id of what it shows. */
  controls?: string | undefined;
  submit?: boolean;
  class?: string;
}

export function Button(props: ButtonProps) {
  const only = props.children === undefined;
  return (
    <button
      type={props.submit === true ? "submit" : "button"}
      class={`button ${props.kind ?? "plain"} ${only ? "only" : ""} ${props.class ?? ""}`}
      disabled={props.disabled === true || props.busy === true}
      aria-busy={props.busy === true}
      aria-label={props.label}
      aria-pressed={props.pressed}
      aria-expanded={props.expanded}
      aria-controls={props.controls}
      title={props.title ?? props.label}
      onClick={props.onClick}
    >
      {props.icon !== undefined && <Icon name={props.icon} />}
      {!only && <span>{props.children}</span>}
    </button>
  );
}

/** A choice that is on or off, with what it means said beside it by whoever shows it. */
export function Toggle(props: { icon: IconName; on: boolean; label: string; title?: string; onChange: (on: boolean) => void }) {
  return (
    <button
      type="button"
      class="toggle"
      role="switch"
      aria-checked={props.on}
      title={props.title}
      onClick={() => props.onChange(!props.on)}
    >
      <Icon name={props.icon} />
      <span>{props.label}</span>
    </button>
  );
}

/** A window above the page. Esc closes it, and what had the focus gets it back. */
export function Dialog(props: {
  title: string;
  onClose: () => void;
  children: ComponentChildren;
  foot?: ComponentChildren;
  wide?: boolean;
  tall?: boolean;
}) {
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const shown = dialog.current;
    const before = document.activeElement;
    if (shown !== null && !shown.open) shown.showModal();
    return () => {
      if (before instanceof HTMLElement) before.focus();
    };
  }, []);
  return (
    <dialog
      ref={dialog}
      class={`${props.wide === true ? "wide" : ""} ${props.tall === true ? "tall" : ""}`}
      aria-labelledby={id}
      onCancel={(event) => {
        event.preventDefault();
        props.onClose();
      }}
      onClick={(event) => {
        if (event.target === dialog.current) props.onClose();
      }}
    >
      <div class="sheet">
        <header>
          <h2 id={id}>{props.title}</h2>
          <Button icon="close" kind="quiet" label={words.close} onClick={props.onClose} />
        </header>
        <div class="body">{props.children}</div>
        {props.foot !== undefined && <footer>{props.foot}</footer>}
      </div>
    </dialog>
  );
}

/** A command to type elsewhere. */
export function Command({ text }: { text: string }) {
  const copied = useSignal(false);
  return (
    <div class="command">
      <code>{text}</code>
      <button
        type="button"
        class="button quiet"
        onClick={() => {
          void navigator.clipboard.writeText(text).then(() => {
            copied.value = true;
            setTimeout(() => (copied.value = false), 2000);
          });
        }}
      >
        {copied.value ? words.copied : words.copy}
      </button>
    </div>
  );
}

/** How a job stands: a colour and a word, never the colour alone. What is done and failed a check is not well. */
export function Chip({ of }: { of: Standing }) {
  return (
    <span class={standing(of, "chip")}>
      <i aria-hidden="true" />
      {standingWords(of)}
    </span>
  );
}

/** Classes for how a job stands. */
export const standing = (of: Standing, kind: "chip" | "dot"): string => `${kind} ${of.state} ${isUnmet(of) ? "unmet" : ""}`;

/** The same in words. */
export const standingWords = (of: Standing): string => {
  if (!isUnmet(of)) return words.session.states[of.state] ?? of.state;
  const failed = unmet(of.checks).length;
  return failed > 0 ? words.checks.state(failed, of.checks.length) : words.checks.exit(of.exit ?? 0);
};

export function Busy({ text }: { text: string }) {
  return (
    <p class="busy">
      <Icon name="leaf" />
      {text}
    </p>
  );
}

export function Problem({ text, children }: { text: string; children?: ComponentChildren }) {
  return (
    <div class="note bad" role="alert">
      <p>{text}</p>
      {children}
    </div>
  );
}

/** Grows a text field with its text. */
export function useGrowing(field: RefObject<HTMLTextAreaElement | null>, text: string): void {
  useEffect(() => {
    const shown = field.current;
    if (shown === null) return;
    shown.style.height = "auto";
    shown.style.height = `${Math.min(shown.scrollHeight + 2, innerHeight * 0.5)}px`;
  }, [field, text]);
}

/** Whether a key in a text field means to send it. A finger has no Shift key, so there it begins a line. */
export function sends(event: KeyboardEvent): boolean {
  if (event.key !== "Enter" || event.isComposing) return false;
  if (event.ctrlKey || event.metaKey) return true;
  return !event.shiftKey && !event.altKey && matchMedia("(pointer: fine)").matches;
}

/** A sentence of the program's, which has commands between backticks. */
export function Said({ text }: { text: string }) {
  const parts = text.split("`");
  const first = parts[0] ?? "";
  parts[0] = first.charAt(0).toUpperCase() + first.slice(1);
  return <>{parts.map((part, at) => (at % 2 === 1 && at < parts.length - 1 ? <code key={at}>{part}</code> : part))}</>;
}

/** What went wrong, as a sentence. */
export function sentence(error: unknown): string {
  const code = error instanceof Error && "code" in error ? error.code : "";
  if (code === "unreachable") return words.unreachable;
  if (!(error instanceof Error) || error.message === "") return words.failed;
  return error.message.charAt(0).toUpperCase() + error.message.slice(1);
}
