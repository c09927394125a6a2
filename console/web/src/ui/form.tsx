import { type ReactNode, useEffect, useRef, useState } from "react";
import { Dialog, Form, Heading, Modal, ModalOverlay } from "react-aria-components";
import { useNavigate } from "react-router";

import { type FieldProblem, Problem } from "../api/problem";
import { note, queryClient, retries, retryDelay } from "../app/status";
import { useCode, useTexts } from "../i18n";
import { Button } from "./button";
import { ProblemNote } from "./problem";

/** A dialog with an address of its own: closing it goes there where it was opened from. */
export function Sheet({ title, back, children }: { title: string; back: string; children: ReactNode }) {
  const navigate = useNavigate();
  const { say } = useTexts();
  const close = () => void navigate(back, { replace: true });
  return (
    <ModalOverlay className="overlay" isOpen isDismissable onOpenChange={(open) => !open && close()}>
      <Modal className="sheet">
        <Dialog>
          <div className="sheethead">
            <Heading slot="title" level={2}>
              {title}
            </Heading>
            <Button kind="quiet" onPress={close} aria-label={say("close")}>
              ✕
            </Button>
          </div>
          {children}
        </Dialog>
      </Modal>
    </ModalOverlay>
  );
}

/** Errors of a refusal by the pointers of their fields. */
export function errorsOf(problem: Problem, words: (code: string, detail: string) => string): Record<string, string[]> {
  const errors: Record<string, string[]> = {};
  for (const field of problem.fields) (errors[field.pointer] ??= []).push(words(field.code, field.detail));
  return errors;
}

const TRIES = 3;

/**
 * A command as a form. It is sent with one key until something else is to be sent, so that sending it again, by us or by an impatient
 * hand, has the effect of one. What is refused stands at its field; what passes by itself is tried again.
 */
export function CommandForm({
  submit,
  send,
  done,
  danger,
  follows,
  children,
}: {
  /** What the button says. */
  submit: string;
  send: (key: string) => Promise<unknown>;
  done: (answer: unknown) => void;
  danger?: boolean;
  /** What will follow of it. */
  follows?: ReactNode;
  children: ReactNode;
}) {
  const { say } = useTexts();
  const code = useCode();
  const [problem, setProblem] = useState<Problem | null>(null);
  const [errors, setErrors] = useState<Record<string, string[]>>({});
  const [sending, setSending] = useState(false);
  const key = useRef(crypto.randomUUID());
  const form = useRef<HTMLFormElement>(null);

  const refused = (found: Problem) => {
    const words = (fieldCode: string, detail: string) => code("field", fieldCode) + (detail ? `: ${detail}` : "");
    setErrors(errorsOf(found, words));
    setProblem(found);
  };
  // What is typed after a refusal is another command. The field's error goes at the first letter: were it to go when the field is
  // left, by a click on the button below, the button would move away under the click.
  const typed = (target: EventTarget) => {
    if (problem) key.current = crypto.randomUUID();
    const named = target instanceof Element ? target.closest(".field")?.querySelector("[name]")?.getAttribute("name") : null;
    if (named && errors[named]) setErrors(({ [named]: _, ...others }) => others);
  };

  const run = async () => {
    const missing = form.current ? missingIn(form.current) : [];
    if (missing.length > 0) {
      refused(new Problem(422, "missing_field", "", missing));
      return;
    }
    setSending(true);
    setProblem(null);
    setErrors({});
    try {
      const answer = await sendUntilDecided(() => send(key.current));
      await queryClient.invalidateQueries();
      done(answer);
    } catch (error) {
      const found = error instanceof Problem ? error : new Problem(0, "unexpected", String(error));
      note(found);
      refused(found);
      if (!found.passes) key.current = crypto.randomUUID();
    } finally {
      setSending(false);
    }
  };

  useEffect(() => {
    if (problem && form.current) focusFirst(form.current, problem);
  }, [problem]);
  const names = form.current ? new Set([...form.current.querySelectorAll("[name]")].map((field) => field.getAttribute("name"))) : null;
  const shownAtFields = problem !== null && problem.fields.length > 0 && problem.fields.every((field) => names?.has(field.pointer));
  return (
    <Form
      ref={form}
      className="form"
      // The browser's own check would hold a form back for a refusal that was mended just now.
      validationBehavior="aria"
      validationErrors={errors}
      onSubmit={(event) => {
        event.preventDefault();
        if (!sending) void run();
      }}
    >
      <div className="fields" onInput={(event) => typed(event.target)}>
        {children}
      </div>
      {problem && !shownAtFields && <ProblemNote error={problem} />}
      {follows && <p className="soft">{follows}</p>}
      <div className="actions">
        <Button type="submit" kind={danger ? "danger" : "main"} isPending={sending}>
          {sending ? say("sending") : submit}
        </Button>
      </div>
    </Form>
  );
}

/** The fields that must be filled in and are not. */
function missingIn(form: HTMLFormElement): FieldProblem[] {
  const fields = [...form.querySelectorAll(".field")].filter((field) => field.querySelector('[aria-required="true"]'));
  const named = fields.map((field) => field.querySelector<HTMLInputElement>("[name]")).filter((input) => input?.value.trim() === "");
  return named.map((input) => ({ pointer: input?.name ?? "", code: "missing_field", detail: "" }));
}

/** Whoever was refused goes on at the first field that is at fault. */
function focusFirst(form: HTMLFormElement, problem: Problem): void {
  const pointers = new Set(problem.fields.map((field) => field.pointer));
  const named = [...form.querySelectorAll<HTMLInputElement>("[name]")].find((input) => pointers.has(input.name));
  const field = named?.type === "hidden" ? named.closest(".field")?.querySelector<HTMLInputElement>("input:not([type=hidden])") : named;
  field?.focus();
}

async function sendUntilDecided(send: () => Promise<unknown>): Promise<unknown> {
  for (let failures = 0; ; failures++) {
    try {
      return await send();
    } catch (error) {
      if (failures + 1 >= TRIES || !retries(failures, error)) throw error;
      await new Promise((resolve) => setTimeout(resolve, retryDelay(failures, error)));
    }
  }
}
