import { useEffect, useState } from "react";
import { Form } from "react-aria-components";

import { Problem } from "../api/problem";
import { LANGUAGES, speak, useTexts } from "../i18n";
import { Button } from "../ui/button";
import { TextInput } from "../ui/fields";
import { ProblemNote } from "../ui/problem";
import { useLogIn } from "./session";
import { Alone } from "./shell";

/** Credentials in the fragment, `#email=…&password=…`, as `tenure up` prints them for the demo. */
function fromFragment(): { email: string; password: string } {
  const fragment = new URLSearchParams(location.hash.slice(1));
  return { email: fragment.get("email") ?? "", password: fragment.get("password") ?? "" };
}

/** Takes what is nobody else's business off the address. */
export function forgetFragment(): void {
  if (location.hash) history.replaceState(history.state, "", location.pathname + location.search);
}

/** Whether the host names no tenant: the bare base domain, or an address. */
export function namesNoTenant(host: string, baseDomain: string): boolean {
  return host === baseDomain || host === "localhost" || /^[\d.]+$/.test(host) || host.startsWith("[");
}

export function LogIn({ ended, baseDomain }: { ended: Problem | null; baseDomain: string }) {
  const { say, language } = useTexts();
  const [given] = useState(fromFragment);
  const [email, setEmail] = useState(given.email);
  const [password, setPassword] = useState(given.password);
  const [totp, setTotp] = useState("");
  const logIn = useLogIn();
  const problem = logIn.error instanceof Problem ? logIn.error : null;
  const asksTotp = problem?.code === "totp_required" || totp !== "";
  useEffect(forgetFragment, []);
  useEffect(() => {
    document.title = `${say("log_in")} · Tenure`;
  }, [say]);
  if (namesNoTenant(location.hostname, baseDomain)) return <ChooseTenant baseDomain={baseDomain} />;
  return (
    <Alone>
      <h1>{say("log_in")}</h1>
      <p className="soft">{location.hostname}</p>
      {ended && !logIn.error && <ProblemNote error={ended} />}
      {problem && problem.code !== "totp_required" && <ProblemNote error={problem} />}
      {logIn.error && !problem && <ProblemNote error={logIn.error} />}
      <Form
        className="form"
        onSubmit={(event) => {
          event.preventDefault();
          if (!logIn.isPending) logIn.mutate({ email: email.trim(), password, ...(totp ? { totp: totp.replace(/\s/g, "") } : {}) });
        }}
      >
        <TextInput name="/email" type="email" label={say("email")} autoComplete="username" required value={email} onChange={setEmail} />
        <TextInput
          name="/password"
          type="password"
          label={say("password")}
          autoComplete="current-password"
          required
          value={password}
          onChange={setPassword}
        />
        {asksTotp && (
          <TextInput
            name="/totp"
            label={say("totp")}
            hint={say("totp.hint")}
            autoComplete="one-time-code"
            inputMode="numeric"
            required
            value={totp}
            onChange={setTotp}
          />
        )}
        <div className="actions">
          <Button type="submit" kind="main" isPending={logIn.isPending}>
            {logIn.isPending ? say("sending") : say("log_in")}
          </Button>
        </div>
      </Form>
      <p className="languages">
        {LANGUAGES.map((one) => (
          <Button key={one} kind="quiet" aria-pressed={one === language} onPress={() => void speak(one)}>
            {one === "en" ? "English" : "Deutsch"}
          </Button>
        ))}
      </p>
    </Alone>
  );
}

/** Where no tenant is named, one says which organization, and goes to its own host. */
function ChooseTenant({ baseDomain }: { baseDomain: string }) {
  const { say } = useTexts();
  const [slug, setSlug] = useState("");
  const plain = /^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$/.test(slug);
  return (
    <Alone>
      <h1>Tenure</h1>
      <p>{say("choose_tenant")}</p>
      <Form
        className="form"
        onSubmit={(event) => {
          event.preventDefault();
          const port = location.port ? `:${location.port}` : "";
          if (plain) location.assign(`${location.protocol}//${slug}.${baseDomain}${port}/`);
        }}
      >
        <TextInput name="slug" label={say("organization.slug")} required value={slug} onChange={(text) => setSlug(text.trim().toLowerCase())} />
        <div className="actions">
          <Button type="submit" kind="main" isDisabled={!plain}>
            {say("go_on")}
          </Button>
        </div>
      </Form>
    </Alone>
  );
}
