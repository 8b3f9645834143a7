// One conversation: its story, what is being written, what it asks, and the field to go on.

import { computed, type Signal, signal, useSignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";

import { blob } from "../nostr/api";
import { attachments, cancel, prompt, requestTags } from "../nostr/jobs";
import { type NEvent, params } from "../nostr/records";
import type { StoryActions } from "../story/context";
import { Story } from "../story/Story";
import { line, pathParts } from "../story/text";
import { words } from "../words/app";
import { ask } from "./ask";
import { Asks } from "./Asks";
import { Attachments } from "./attach";
import { agentNamed, agentTitle, blindTo, blindWords, usual } from "./choice";
import { type Conversation, isOpen, type Job } from "./conversations";
import { Feed } from "./feed";
import { Field } from "./field";
import { FilesDialog, type LooksAt } from "./FilesDialog";
import { Icon } from "./icons";
import { draft } from "./keep";
import { onKeys } from "./keys";
import { commandsOf, namesOf, reaches } from "./More";
import { canNotify, denied, notifies, turn } from "./notify";
import { Progress, stands } from "./Progress";
import { purging } from "./Purge";
import { hrefs } from "./route";
import { titleOf } from "./Sessions";
import { ShareDialog } from "./Share";
import { hidesStory, showSide, showsSide, Side } from "./Side";
import { anew } from "./Start";
import { me, store } from "./state";
import { openLater } from "./tabs";
import * as tasks from "./tasks";
import { Busy, Button, Chip, Problem, Said, sentence, Toggle } from "./ui";
import { Checked, Unmet } from "./Unmet";

/** Steps of a story that wants search and filters. */
const MANY = 40;

export function Session({ id, step }: { id: string; step: string | undefined }) {
  const known = store.value;
  const looked = useSignal(false);
  const feed = useMemo(() => (known === undefined ? undefined : new Feed(id, known)), [id, known]);
  useEffect(() => () => feed?.close(), [feed]);
  useEffect(() => {
    looked.value = false;
    if (known === undefined) return;
    void known.load(id).finally(() => (looked.value = true));
  }, [id, known]);
  if (known === undefined || feed === undefined) return null;
  const conversation = feed.conversation.value;
  if (conversation === undefined) {
    return looked.value && known.loaded.value ? (
      <div class="empty">
        <h1>{words.session.notFound}</h1>
        <p>{words.session.notFoundHow}</p>
        <a href={hrefs.sessions}>{words.sessions.title}</a>
      </div>
    ) : (
      <Busy text={words.loading} />
    );
  }
  return <View key={id} feed={feed} conversation={conversation} step={step} />;
}

/** Whether the conversation has a copy of files. */
const onFiles = (conversation: Conversation): boolean => conversation.task && agentNamed(conversation.agent ?? "")?.workspace !== false;

function View({ feed, conversation, step }: { feed: Feed; conversation: Conversation; step: string | undefined }) {
  const problem = useSignal("");
  const sharing = useSignal(false);
  const job = conversation.jobs.at(-1) as Job;
  const session = feed.session.value;
  const files = onFiles(conversation);
  const plain = useMemo(() => {
    const known = store.value;
    return computed(() => {
      void known?.version.value;
      return new Map(known?.plain ?? []);
    });
  }, []);
  const looksAt = useSignal<LooksAt | undefined>(undefined);
  const actions = useMemo(() => storyActions(feed, files, looksAt), [feed, files]);
  const linkTo = useMemo(() => (id: string) => hrefs.step(conversation.id, id), [conversation.id]);
  const title = titleOf(conversation);
  useEffect(
    () =>
      onKeys((event) => {
        if (event.key === "Escape" && files && hidesStory()) {
          showSide(false);
          return true;
        }
        if (event.key !== "c" || !files) return false;
        showSide(!showsSide());
        return true;
      }),
    [files],
  );
  return (
    <div class={`session ${files && showsSide() ? "with-side" : ""}`}>
      <section class="talk" aria-label={words.session.story}>
        <header class="head">
          <div class="titles">
            <h1 title={title}>{title}</h1>
            <div class="abouts">
              <p class="about">
                <Chip of={stands(job, job)} />
                <span>{agentTitle(conversation.agent)}</span>
                {conversation.project !== undefined && (
                  <span class="project" title={line(conversation.project, 400)}>
                    <Icon name="folder" size={16} /> {pathParts(conversation.project)[1]}
                  </span>
                )}
                {conversation.hidden && (
                  <span>
                    <Icon name="lock" size={16} /> {words.session.private}
                  </span>
                )}
              </p>
              <p class="about extra">
                {job.network.length > 0 && (
                  <span title={reaches(job.network)}>
                    <Icon name="globe" size={16} /> {words.choose.networkOf(namesOf(job.network))}
                  </span>
                )}
                <Checked job={job} />
                {conversation.comparison !== undefined && (
                  <a href={hrefs.comparison(conversation.comparison.id)}>
                    <Icon name="compare" size={16} /> {words.compare.others(conversation.comparison.of)}
                  </a>
                )}
              </p>
            </div>
          </div>
          <div class="row">
            {canNotify() && (
              <Button
                icon="bell"
                kind="quiet"
                pressed={notifies()}
                label={notifies() ? words.session.notifyOn : words.session.notify}
                onClick={() => void turn(!notifies())}
              />
            )}
            <Button icon="search" kind="quiet" label={words.session.search} onClick={() => document.querySelector<HTMLElement>(".s-search input")?.focus()} />
            <Button icon="share" kind="quiet" label={words.session.share} disabled={session === undefined} onClick={() => (sharing.value = true)} />
            <Button icon="trash" kind="quiet" label={words.purge.open} disabled={isOpen(job.state)} onClick={() => (purging.value = [conversation])} />
            {files && (
              <Button icon="changes" kind="quiet" label={words.session.side} expanded={showsSide()} onClick={() => showSide(!showsSide())} />
            )}
          </div>
        </header>
        {denied.value && <p class="hint bad">{words.session.notifyDenied}</p>}
        <div class={feed.events.value.length < MANY ? "story-place few" : "story-place"}>
          <Story
            events={feed.events as Signal<NEvent[]>}
            live={feed.live as Signal<string>}
            plain={plain as Signal<Map<string, string | null>>}
            more={feed.older ? () => feed.more() : undefined}
            actions={actions}
            step={step}
            linkTo={linkTo}
          />
        </div>
        <div class="dock">
          <Ending conversation={conversation} job={job} />
          <Unmet conversation={conversation} job={job} feed={feed} />
          {problem.value !== "" && <Problem text={problem.value} />}
          {conversation.question !== undefined && <Asks key={conversation.question.id} question={conversation.question} />}
          <div class="status-row">
            <Progress feed={feed} />
            <Apps feed={feed} session={session} problem={problem} />
            <Controls job={job} session={session} problem={problem} />
          </div>
          <Follow conversation={conversation} job={job} session={session} problem={problem} />
        </div>
      </section>
      {files && showsSide() && <Side feed={feed} conversation={conversation} job={job} looksAt={looksAt} />}
      {looksAt.value !== undefined && session !== undefined && (
        <FilesDialog session={session} looksAt={looksAt.value} onClose={() => (looksAt.value = undefined)} />
      )}
      {sharing.value && session !== undefined && <ShareDialog session={session} hidden={conversation.hidden} onClose={() => (sharing.value = false)} />}
    </div>
  );
}

function storyActions(feed: Feed, files: boolean, looksAt: Signal<LooksAt | undefined>): StoryActions {
  const session = (): string => feed.session.value ?? "";
  const withFiles: StoryActions = {
    undoTo: (point) => tasks.undo(session(), point),
    previewUndo: (point) => tasks.previewUndo(session(), point),
    openFile: (path, at) => {
      looksAt.value = { path, at };
    },
  };
  return {
    ...(files ? withFiles : {}),
    blob: async (sha256) => new TextDecoder().decode(await blob(sha256)),
    preview: (port) => openLater(() => tasks.previewApp(session(), port)),
  };
}

/** Why there is no answer, and the same question once more. */
function Ending({ conversation, job }: { conversation: Conversation; job: Job }) {
  if (job.state !== "failed" && job.state !== "stopped") return null;
  const code = job.said?.code ?? "";
  const why = words.session.errors[code] ?? line(job.said?.sentence ?? "", 800);
  const fetches = job.state === "failed" && /\bdial tcp\b|\bno such host\b/.test(why);
  const source = job.event ?? job.inner;
  const asked = source === undefined ? undefined : prompt(source, store.value?.plain.get(source.id));
  const text = draft(`session.${conversation.id}`);
  const files = source === undefined ? [] : attachments(requestTags(source, store.value?.plain.get(source.id)));
  const again = (): void => {
    text.value = asked ?? "";
    attachedTo(conversation.id).restore(files);
    // The same once more: what it may reach stands beside the field.
    if (job.network.length > 0) reachesAgain(conversation.id).value = true;
    document.querySelector<HTMLElement>("[data-field]")?.focus();
  };
  const otherwise = (): void => {
    const { agent, model, project, hidden } = conversation;
    const { network, toCheck: checks } = job;
    anew({ text: asked ?? "", agent, model, folder: project, files, hidden, ask: asksFirst(conversation), network, checks });
  };
  return (
    <div class={job.state === "failed" ? "note bad ending" : "note ending"}>
      <p>
        {job.state === "failed" ? (
          <>
            <strong>{words.session.failed}</strong> {fetches ? words.session.unfetched : <Said text={why} />}
          </>
        ) : (
          words.session.stopped
        )}
      </p>
      {fetches && (
        <details>
          <summary>{words.touch.details}</summary>
          <p>{why}</p>
        </details>
      )}
      {asked !== undefined && asked !== "" && text.value === "" && (
        <div class="row">
          <Button icon="undo" onClick={again}>
            {words.session.again}
          </Button>
          <Button icon="add" onClick={otherwise}>
            {words.session.otherwise}
          </Button>
        </div>
      )}
    </div>
  );
}

/** What the agent's programs serve right now. */
function Apps({ feed, session, problem }: { feed: Feed; session: string | undefined; problem: Signal<string> }) {
  if (session === undefined) return null;
  return (
    <div class="row">
      {feed.ports.value.map((port) => (
        <Button
          key={port}
          icon="tab"
          onClick={() => {
            problem.value = "";
            openLater(() => tasks.previewApp(session, port)).catch((error: unknown) => (problem.value = sentence(error)));
          }}
        >
          {words.session.app(port)}
        </Button>
      ))}
    </div>
  );
}

function Controls({ job, session, problem }: { job: Job; session: string | undefined; problem: Signal<string> }) {
  const busy = useSignal<"" | "stop" | "pause" | "resume">("");
  useEffect(() => {
    busy.value = "";
  }, [job.state]);
  if (!isOpen(job.state)) return null;
  const act = (what: "stop" | "pause" | "resume", work: () => Promise<unknown>): void => {
    busy.value = what;
    problem.value = "";
    work().then(
      () => {
        if (what !== "stop") busy.value = "";
      },
      (error: unknown) => {
        busy.value = "";
        problem.value = sentence(error);
      },
    );
  };
  const stop = async (): Promise<void> => {
    const known = store.value;
    if (known === undefined || job.event === undefined) return;
    await cancel(known.relay, job.event, me.value?.coordinator ?? "");
  };
  return (
    <div class="row controls">
      {session !== undefined && job.state === "paused" && (
        <Button icon="play" busy={busy.value === "resume"} onClick={() => act("resume", () => tasks.resume(session))}>
          {busy.value === "resume" ? words.session.resuming : words.session.resume}
        </Button>
      )}
      {session !== undefined && (job.state === "working" || job.state === "asking") && (
        <Button icon="pause" kind="quiet" busy={busy.value === "pause"} onClick={() => act("pause", () => tasks.pause(session))}>
          {busy.value === "pause" ? words.session.pausing : words.session.pause}
        </Button>
      )}
      <Button icon="stop" kind="quiet" busy={busy.value === "stop"} onClick={() => act("stop", stop)}>
        {busy.value === "stop" ? words.session.stopping : words.session.stop}
      </Button>
    </div>
  );
}

/** What was added to a conversation's field, and not sent. */
const attached = new Map<string, Attachments>();

function attachedTo(conversation: string): Attachments {
  const files = attached.get(conversation) ?? new Attachments();
  attached.set(conversation, files);
  return files;
}

/** Whether the next job of a conversation may reach what an earlier one did: only when that is said, each time. */
const reaching = new Map<string, Signal<boolean>>();

function reachesAgain(conversation: string): Signal<boolean> {
  const again = reaching.get(conversation) ?? signal(false);
  reaching.set(conversation, again);
  return again;
}

/** The field below: to steer while it works, to go on when it is done. */
function Follow(props: { conversation: Conversation; job: Job; session: string | undefined; problem: Signal<string> }) {
  const { conversation, job, session, problem } = props;
  const text = draft(`session.${conversation.id}`);
  const sending = useSignal(false);
  const files = attachedTo(conversation.id);
  const agent = agentNamed(conversation.agent ?? "") ?? (conversation.task ? undefined : usual());
  const blind = files.pictures ? blindTo(agent, conversation.model) : undefined;
  const open = isOpen(job.state);
  const again = reachesAgain(conversation.id);
  const checked = useSignal(true);
  const network = conversation.jobs.findLast((one) => one.network.length > 0)?.network ?? [];
  const checks = conversation.jobs.findLast((one) => one.toCheck.length > 0)?.toCheck ?? [];
  const send = async (): Promise<void> => {
    sending.value = true;
    problem.value = "";
    try {
      const said = text.value.trim();
      if (open) {
        if (session !== undefined) await tasks.steer(session, said);
      } else {
        await ask(
          {
            text: said,
            task: conversation.task,
            agent: conversation.agent,
            model: conversation.model,
            folder: conversation.project,
            files: files.kept,
            hidden: conversation.hidden,
            ask: asksFirst(conversation),
            network: again.value ? network : [],
            checks: checked.value ? checks : [],
            after: earlier(conversation),
          },
          (error) => (problem.value = sentence(error)),
        );
      }
      text.value = "";
      files.clear();
      again.value = false;
    } catch (error) {
      problem.value = sentence(error);
    }
    sending.value = false;
  };
  if (open && session === undefined) return null;
  return (
    <Field
      text={text}
      label={open ? words.session.steerLabel : words.session.follow}
      placeholder={open ? words.session.steer : words.session.followPlaceholder}
      send={words.session.send}
      onSend={() => void send()}
      busy={sending.value}
      {...(open ? {} : { files })}
      focus={!open}
      blocked={blind !== undefined}
      attach={onFiles(conversation) ? words.start.attachWork : words.start.attachTalk}
      middle={
        <>
          {blind !== undefined && (
            <p class="hint bad" role="alert">
              <Said text={blindWords(blind)} />
            </p>
          )}
          {!open && again.value && network.length > 0 && <p class="hint risk">{reaches(network)}</p>}
        </>
      }
    >
      {!open && network.length > 0 && (
        <Toggle icon="globe" on={again.value} label={words.choose.again} title={reaches(network)} onChange={(on) => (again.value = on)} />
      )}
      {!open && checks.length > 0 && (
        <Toggle icon="check" on={checked.value} label={words.choose.checkAgain} title={words.choose.checked(commandsOf(checks))} onChange={(on) => (checked.value = on)} />
      )}
      {(open || (network.length === 0 && checks.length === 0)) && <span class="hint">{open ? words.session.steerHow : words.start.enterSends}</span>}
    </Field>
  );
}

/** What the next job goes on from: the last result, else the last request that is still there. */
function earlier(conversation: Conversation): string | undefined {
  const last = conversation.jobs.findLast((job) => job.result !== undefined || job.event !== undefined);
  return last?.result?.id ?? last?.id;
}

function asksFirst(conversation: Conversation): boolean {
  const known = store.value;
  const first = conversation.jobs[0]?.event;
  if (first === undefined || known === undefined) return false;
  return params(requestTags(first, known.plain.get(first.id)), "permissions") === "ask";
}
