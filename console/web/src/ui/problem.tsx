import { OFFLINE, Problem } from "../api/problem";
import { useCode, useTexts } from "../i18n";
import { Button } from "./button";

/** What went wrong, in words that help. */
export function useSaid(): (error: unknown) => { title: string; detail: string } {
  const { say } = useTexts();
  const code = useCode();
  return (error) => {
    if (!(error instanceof Problem)) return { title: say("problem.unexpected"), detail: "" };
    if (error.code === OFFLINE) return { title: say("problem.offline"), detail: say("problem.offline.detail") };
    // Tenure's own words are exact and English; ours come first.
    return { title: code("problem", error.code), detail: error.detail };
  };
}

export function ProblemNote({ error, again }: { error: unknown; again?: () => void }) {
  const { say } = useTexts();
  const { title, detail } = useSaid()(error);
  return (
    <div className="note bad" role="alert">
      <p>
        <strong>{title}</strong>
      </p>
      {detail && <p className="soft">{detail}</p>}
      {again && (
        <p>
          <Button onPress={again}>{say("again")}</Button>
        </p>
      )}
    </div>
  );
}
