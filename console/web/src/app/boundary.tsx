import { Component, type ReactNode } from "react";
import { useRouteError } from "react-router";

import { ButtonLink } from "../ui/button";
import { Page } from "../ui/page";
import { ProblemNote } from "../ui/problem";
import { useTexts } from "../i18n";

/** The last resort: a mistake of ours shows a sentence, never an empty page. It needs nothing that may be broken. */
export class Boundary extends Component<{ children: ReactNode }, { broken: boolean }> {
  override state = { broken: false };
  static getDerivedStateFromError() {
    return { broken: true };
  }
  override render() {
    if (!this.state.broken) return this.props.children;
    return (
      <main className="alone">
        <h1>Something went wrong on this page.</h1>
        <p>
          <a href="/">Begin again</a>
        </p>
      </main>
    );
  }
}

/** A page that failed. One whose code is gone, because a new version was installed meanwhile, is loaded anew once. */
export function RouteError() {
  const error = useRouteError();
  const { say } = useTexts();
  if (error instanceof TypeError && /import|module/i.test(error.message) && !sessionStorage.getItem("tenure-reloaded")) {
    sessionStorage.setItem("tenure-reloaded", "1");
    location.reload();
    return null;
  }
  return (
    <Page title={say("problem.unexpected")}>
      <ProblemNote error={error} again={() => location.reload()} />
    </Page>
  );
}

export function NotFound() {
  const { say } = useTexts();
  return (
    <Page title={say("problem.not_found")}>
      <p>{say("not_found.page")}</p>
      <ButtonLink to="/">{say("home")}</ButtonLink>
    </Page>
  );
}
