// Where something begins.

import { effect, signal, useSignal } from "@preact/signals";
import { useRef } from "preact/hooks";

import { MAX_COMPARED } from "../nostr/comparison";
import type { Attachment } from "../nostr/jobs";
import { line, pathParts } from "../story/text";
import { words } from "../words/app";
import { Treehouse } from "./art";
import { ask, askSeveral } from "./ask";
import { Attachments } from "./attach";
import { agentNamed, blindTo, blindWords, type Choice, ChoiceFields, isElsewhere, lastAgent, lastModel, modelParam, titleOf, usual, worker } from "./choice";
import { Field } from "./field";
import { FolderPicker } from "./folders";
import { Icon } from "./icons";
import { draft } from "./keep";
import { Commands, Missing } from "./Missing";
import { checksOf, Chosen, extras, extrasOf, More, MoreButton, networkOf, NOTHING, showsMore, wrong } from "./More";
import { go, hrefs } from "./route";
import { me, status } from "./state";
import { Button, Problem, Said, sentence, Toggle } from "./ui";

/** What shows more choices, for who does not see it. */
const MORE = "more-choices";

// What was chosen outlives a look at another view.
const choices = signal<Choice[]>([]);
const folder = draft("start.folder");
const hidden = signal(false);
const asks = signal(false);
const files = new Attachments();

/** The same question from the beginning, so that all of it can be chosen anew. */
export function anew(question: {
  text: string;
  agent: string | undefined;
  model: string | undefined;
  folder: string | undefined;
  files: Attachment[];
  hidden: boolean;
  ask: boolean;
  network: string[];
  checks: string[];
}): void {
  draft("start").value = question.text;
  choices.value = agentNamed(question.agent ?? "") === undefined ? [] : [{ agent: question.agent ?? "", model: question.model ?? "" }];
  folder.value = question.folder ?? "";
  hidden.value = question.hidden;
  asks.value = question.ask;
  extras.value = extrasOf(question.network, question.checks);
  files.restore(question.files);
  go(hrefs.start);
}

/** Who is asked; nobody as long as it is not known who there is. */
function current(): Choice[] {
  if (choices.value.length > 0) return choices.value;
  const first = usual();
  const model = status.value?.models.includes(lastModel.value) === true ? lastModel.value : "";
  return first === undefined ? [] : [{ agent: first.name, model }];
}

/** The same, once it is known: who writes quickly is not asked to wait. */
function whenKnown(): Promise<Choice[]> {
  return new Promise((resolve) => {
    const stop = effect(() => {
      const chosen = current();
      if (chosen.length === 0) return;
      resolve(chosen);
      queueMicrotask(() => stop());
    });
  });
}

export function Start() {
  const text = draft("start");
  const picking = useSignal(false);
  const sending = useSignal(false);
  const problem = useSignal("");
  const rows = useRef<HTMLDivElement>(null);
  const chosen = current();
  const chosenAgents = chosen.map((choice) => agentNamed(choice.agent));
  const onFiles = chosenAgents.some((agent) => agent?.workspace === true);
  const checkable = chosenAgents.some((agent) => agent?.workspace === true && agent.command !== true);
  // What is about files concerns those who work on some.
  const more = onFiles ? extras.value : NOTHING;
  const many = chosen.length * more.times;
  const odd = wrong(more, many);
  const canAsk = chosenAgents.length > 0 && chosenAgents.every((agent) => agent?.asks === true);
  const missing = chosenAgents.find((agent) => agent?.missing !== undefined);
  const commands = chosenAgents.length > 0 && chosenAgents.every((agent) => agent?.command === true);
  const blind = files.pictures ? chosen.map((choice) => blindTo(agentNamed(choice.agent), modelParam(choice))).find((model) => model !== undefined) : undefined;
  const nothing = status.value !== undefined && status.value.default_model === null && chosen.some((choice, at) => chosenAgents[at]?.command !== true && modelParam(choice) === undefined);

  const change = (at: number, choice: Choice): void => {
    choices.value = chosen.map((other, index) => (index === at ? choice : other));
    if (agentNamed(choice.agent)?.workspace !== true && chosen.length === 1) folder.value = "";
  };
  const another = (): void => {
    choices.value = [...chosen, unlike(chosen)];
    // The new one may be below those in sight.
    requestAnimationFrame(() => rows.current?.scrollTo(0, rows.current.scrollHeight));
  };
  const chooseFolder = (path: string): void => {
    picking.value = false;
    folder.value = path;
    const agent = worker();
    if (!onFiles && agent !== undefined) choices.value = [{ agent: agent.name, model: chosen[0]?.model ?? "" }];
  };
  const send = async (): Promise<void> => {
    sending.value = true;
    problem.value = "";
    try {
      const chosen = await whenKnown();
      const failed = (error: unknown): void => {
        problem.value = sentence(error);
      };
      const rounds = Array.from({ length: more.times }, (_, at) => at + 1);
      const names = rounds.flatMap((round) => chosen.map((choice) => (more.times === 1 ? nameOf(choice) : `${nameOf(choice)} #${round}`)));
      const questions = rounds.flatMap(() => chosen).map((choice) => {
        const agent = agentNamed(choice.agent);
        const task = agent?.workspace === true || agent?.command === true;
        return {
          text: text.value.trim(),
          task,
          agent: choice.agent,
          model: agent?.command === true ? undefined : modelParam(choice),
          folder: agent?.workspace === true && folder.value !== "" ? folder.value : undefined,
          files: files.kept,
          hidden: hidden.value,
          ask: asks.value && agent?.asks === true,
          network: agent?.workspace === true ? networkOf(more) : [],
          // A command's own exit code counts.
          checks: agent?.workspace === true && agent.command !== true ? checksOf(more) : [],
        };
      });
      const [first] = questions;
      const at =
        first !== undefined && questions.length === 1
          ? hrefs.session(await ask(first, failed))
          : hrefs.comparison(await askSeveral(questions, names, failed));
      lastAgent.value = chosen[0]?.agent ?? "";
      lastModel.value = chosen[0] === undefined ? "" : (modelParam(chosen[0]) ?? "");
      text.value = "";
      files.clear();
      choices.value = [];
      hidden.value = false;
      asks.value = false;
      extras.value = NOTHING;
      showsMore.value = false;
      go(at);
    } catch (error) {
      problem.value = sentence(error);
    }
    sending.value = false;
  };

  return (
    <div class="start">
      <Treehouse />
      <h1 id="start-title">{words.start.title}</h1>
      <Missing />
      {problem.value !== "" && <Problem text={problem.value} />}
      <Field
        text={text}
        label={words.start.title}
        labelledBy="start-title"
        placeholder={commands ? words.start.placeholderCommand : words.start.placeholder}
        attach={onFiles ? words.start.attachWork : words.start.attachTalk}
        blocked={blind !== undefined || nothing || missing !== undefined || odd !== undefined}
        send={words.start.send}
        onSend={() => void send()}
        busy={sending.value}
        files={files}
        rows={3}
        focus
        middle={
          <div class="choices">
            <div class={chosen.length > 1 ? "all several" : "all"} ref={rows}>
              {chosen.length === 0 && <Coming />}
              {chosen.map((choice, at) => (
                <div class="choice" key={at}>
                  <ChoiceFields choice={choice} onChange={(choice) => change(at, choice)} />
                  {chosen.length > 1 && (
                    <Button icon="close" kind="quiet" label={words.start.anotherRemove} onClick={() => (choices.value = chosen.filter((_, index) => index !== at))} />
                  )}
                  {at === 0 && (
                    <span class="pill-group">
                      <button type="button" class="pill" onClick={() => (picking.value = true)}>
                        <Icon name="folder" />
                        {folder.value === "" ? (onFiles ? words.start.folderNew : words.start.folderNone) : pathParts(folder.value)[1]}
                      </button>
                      {folder.value !== "" && <Button icon="close" kind="quiet" label={words.start.folderRemove} onClick={() => (folder.value = "")} />}
                    </span>
                  )}
                </div>
              ))}
            </div>
            <p class="hint">{explain(chosen, onFiles, canAsk, many) || "\u00a0"}</p>
            {onFiles && showsMore.value && <More id={MORE} folder={folder.value} checks={checkable} />}
            {onFiles && !showsMore.value && <Chosen chosen={more} checks={checkable} />}
            {odd !== undefined && (
              <p class="hint bad" role="alert">
                {odd}
              </p>
            )}
            {blind !== undefined && (
              <div class="note warn" role="alert">
                <p>
                  <Said text={blindWords(blind)} />
                </p>
              </div>
            )}
            {missing !== undefined && (
              <div class="note warn">
                <p>
                  <strong>{words.start.missing(titleOf(missing))}</strong> <Said text={line(missing.missing ?? "", 400)} />
                </p>
                <Commands text={line(missing.missing ?? "", 400)} />
                <p>{words.missing.still}</p>
              </div>
            )}
          </div>
        }
      >
        <Toggle icon="lock" on={hidden.value} label={words.start.hidden} title={words.start.hiddenOn} onChange={(on) => (hidden.value = on)} />
        {canAsk && <Toggle icon="hand" on={asks.value} label={words.start.ask} title={words.start.askOn} onChange={(on) => (asks.value = on)} />}
        {chosen.length > 0 && (chosen.length + 1) * more.times <= MAX_COMPARED && (
          <Button icon="compare" kind="quiet" title={words.start.another} onClick={another}>
            {words.start.compare}
          </Button>
        )}
        {onFiles && <MoreButton controls={MORE} />}
        <span class="gap" />
      </Field>
      {chosen.length === 0 && status.value === undefined && <PresetsComing />}
      {chosen.length === 1 && <Presets away={text.value !== ""} pick={() => (picking.value = true)} />}
      {picking.value && <FolderPicker onChoose={chooseFolder} onClose={() => (picking.value = false)} />}
    </div>
  );
}

/** Agent and model, as other programs' people read them. */
function nameOf(choice: Choice): string {
  const model = agentNamed(choice.agent)?.command === true ? undefined : (modelParam(choice) ?? status.value?.default_model ?? undefined);
  return line(model === undefined ? choice.agent : `${choice.agent} · ${model}`, 100);
}

/** One more to ask the same: with a model that was not chosen yet, if there is one. */
function unlike(chosen: Choice[]): Choice {
  const last = chosen.at(-1) as Choice;
  const usual = status.value?.default_model ?? "";
  const taken = chosen.map((choice) => choice.model || usual);
  const other = status.value?.models.find((model) => !taken.includes(model));
  return { ...last, model: other ?? last.model };
}

/** What the choices mean, in a sentence or two. */
function explain(chosen: Choice[], onFiles: boolean, canAsk: boolean, many: number): string {
  const said: string[] = [];
  if (many > 1) said.push(words.start.both);
  if (many > 2) said.push(words.choose.inAll(many, me.value?.at_once ?? many));
  if (many === 1 && chosen[0] !== undefined) said.push(line(agentNamed(chosen[0].agent)?.description ?? "", 200));
  if (onFiles && folder.value !== "") said.push(words.start.folderCopy);
  if (hidden.value) said.push(words.start.hiddenOn);
  if (asks.value && canAsk) said.push(words.start.askOn);
  if (chosen.some((choice) => isElsewhere(modelParam(choice) ?? ""))) said.push(words.start.cloud);
  return said.join(" ");
}

/** The place of the choices before it is known which there are, so that nothing moves when they come. */
function Coming() {
  return (
    <div class="choice coming" aria-hidden="true">
      <span class="pill" />
      <span class="muted">{words.start.with}</span>
      <span class="pill" />
      <span class="pill">{words.start.folderNone}</span>
    </div>
  );
}

/** The place of the presets, likewise. */
function PresetsComing() {
  return (
    <div class="presets coming" aria-hidden="true">
      {[words.start.talk, words.start.build, words.start.work].map(({ title, text }) => (
        <div key={title}>
          <Icon name="add" />
          <strong>{title}</strong>
          <span>{text}</span>
        </div>
      ))}
    </div>
  );
}

function Presets({ away, pick }: { away: boolean; pick: () => void }) {
  const focus = (): void => document.querySelector<HTMLTextAreaElement>("[data-field]")?.focus();
  const agent = worker();
  const talker = status.value?.agents.find((agent) => agent.workspace !== true);
  return (
    <section class={away ? "presets away" : "presets"} aria-label={words.start.presets}>
      {talker !== undefined && (
        <button
          type="button"
          onClick={() => {
            choices.value = [{ agent: talker.name, model: "" }];
            folder.value = "";
            focus();
          }}
        >
          <Icon name="leaf" />
          <strong>{words.start.talk.title}</strong>
          <span>{isElsewhere("") ? words.start.talk.away : words.start.talk.text}</span>
        </button>
      )}
      {agent !== undefined && (
        <button
          type="button"
          onClick={() => {
            choices.value = [{ agent: agent.name, model: "" }];
            folder.value = "";
            focus();
          }}
        >
          <Icon name="add" />
          <strong>{words.start.build.title}</strong>
          <span>{words.start.build.text}</span>
        </button>
      )}
      {agent !== undefined && (
        <button type="button" onClick={pick}>
          <Icon name="folder" />
          <strong>{words.start.work.title}</strong>
          <span>{words.start.work.text}</span>
        </button>
      )}
    </section>
  );
}
