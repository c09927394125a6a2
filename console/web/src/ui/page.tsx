import { useIsFetching } from "@tanstack/react-query";
import { type ReactNode, useEffect, useRef } from "react";

import { useTexts } from "../i18n";
import { ProblemNote } from "./problem";

/** A page: its title, also the window's, which says nothing personal, and what one can do there. */
export function Page({ title, heading, actions, children }: { title: string; heading?: ReactNode; actions?: ReactNode; children: ReactNode }) {
  const headline = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    document.title = `${title} · Tenure`;
  }, [title]);
  return (
    <>
      <div className="headline">
        <h1 ref={headline} tabIndex={-1}>
          {heading ?? title}
        </h1>
        {actions && <div className="actions">{actions}</div>}
      </div>
      {children}
    </>
  );
}

/** A read on its way, its answer, or why there is none. */
export function Loaded<T>({ of, children }: { of: Read<T>; children: (data: T) => ReactNode }) {
  const { say } = useTexts();
  if (of.data !== undefined) {
    return (
      <>
        {of.isError && <ProblemNote error={of.error} again={() => void of.refetch()} />}
        {children(of.data)}
      </>
    );
  }
  if (of.isError) return <ProblemNote error={of.error} again={() => void of.refetch()} />;
  // The first try failed, and the query is tried again.
  if (of.failureReason) return <Waiting text={say("waiting")} />;
  return <Waiting text={say("loading")} />;
}

export type Read<T> = { data: T | undefined; isError: boolean; error: unknown; failureReason: unknown; refetch: () => unknown };

export function Waiting({ text }: { text: string }) {
  return (
    <p className="waiting" role="status">
      {text}
    </p>
  );
}

/** A thin line at the top while anything is read. */
export function Progress() {
  const fetching = useIsFetching();
  return <div className={fetching > 0 ? "progress on" : "progress"} aria-hidden="true" />;
}

export function Empty({ children }: { children: ReactNode }) {
  return <p className="empty">{children}</p>;
}

/** Facts in two columns. What may not be seen, or was never said, is a dash. */
export function Facts({ of }: { of: [string, ReactNode][] }) {
  const { say } = useTexts();
  return (
    <dl className="facts">
      {of.map(([term, what]) => (
        <div key={term}>
          <dt>{term}</dt>
          <dd>{what === null || what === undefined || what === "" ? <span aria-label={say("nothing")}>–</span> : what}</dd>
        </div>
      ))}
    </dl>
  );
}

export function Badge({ kind, children }: { kind: "good" | "soft" | "ahead" | "bad"; children: ReactNode }) {
  return <span className={`badge ${kind}`}>{children}</span>;
}
