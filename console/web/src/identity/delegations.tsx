import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { Outlet, useNavigate } from "react-router";

import { useMe } from "../app/session";
import { note, queryClient } from "../app/status";
import { useCode, useTexts } from "../i18n";
import { formatInstant } from "../lib/day";
import { Button, ButtonLink } from "../ui/button";
import { Checks, TextInput } from "../ui/fields";
import { useFields } from "../ui/fields-state";
import { CommandForm, Sheet } from "../ui/form";
import { Badge, Empty, Loaded } from "../ui/page";
import { ProblemNote } from "../ui/problem";
import { type Delegation, delegate, revokeDelegation, useDelegations } from "./data";
import { AdministrationPage } from "./tabs";

const LIST = "/administration/delegations";

export function Delegations() {
  const { say } = useTexts();
  const delegations = useDelegations();
  return (
    <AdministrationPage title={say("nav.delegations")} actions={<ButtonLink kind="main" to={`${LIST}/new`}>{say("delegate")}</ButtonLink>}>
      <p className="soft">{say("delegations.explained")}</p>
      <Loaded of={delegations}>
        {(all) =>
          all.length === 0 ? (
            <Empty>{say("delegations.none")}</Empty>
          ) : (
            <div className="scroll" tabIndex={0} role="region" aria-label={say("nav.delegations")}>
              <table>
                <thead>
                  <tr>
                    <th scope="col">{say("delegation.from")}</th>
                    <th scope="col">{say("delegation.to")}</th>
                    <th scope="col">{say("roles")}</th>
                    <th scope="col">{say("begins")}</th>
                    <th scope="col">{say("ends")}</th>
                    <th scope="col">{say("actions")}</th>
                  </tr>
                </thead>
                <tbody>
                  {all.map((one) => (
                    <Row key={one.delegation_id} one={one} />
                  ))}
                </tbody>
              </table>
            </div>
          )
        }
      </Loaded>
      <Outlet />
    </AdministrationPage>
  );
}

function Row({ one }: { one: Delegation }) {
  const { say, language } = useTexts();
  const code = useCode();
  const me = useMe().data;
  const who = (subject: string) => (subject === me?.subject ? say("you") : subject);
  const revoke = useMutation({
    mutationFn: () => revokeDelegation(one.delegation_id),
    onSuccess: () => queryClient.invalidateQueries({ queryKey: ["delegations"] }),
    onError: note,
  });
  return (
    <tr>
      <th scope="row">{who(one.from_subject)}</th>
      <td>{who(one.to_subject)}</td>
      <td>{one.roles.map((role) => code("role", role)).join(", ")}</td>
      <td className="nowrap">{formatInstant(one.starts_at, language)}</td>
      <td className="nowrap">{formatInstant(one.ends_at, language)}</td>
      <td>
        {one.revoked ? (
          <Badge kind="soft">{say("revoked")}</Badge>
        ) : (
          <Button kind="quiet" onPress={() => revoke.mutate()} isPending={revoke.isPending}>
            {say("revoke")}
          </Button>
        )}
        {revoke.isError && <ProblemNote error={revoke.error} />}
      </td>
    </tr>
  );
}

export function Delegate() {
  const { say } = useTexts();
  const code = useCode();
  const navigate = useNavigate();
  const me = useMe().data;
  const [fields, set] = useFields({ to: "", starts: "", ends: "" });
  const [roles, setRoles] = useState<string[]>([]);
  // An instant is typed in the reader's own time zone, and sent in UTC.
  const instant = (typed: string) => new Date(typed).toISOString();
  return (
    <Sheet title={say("delegate")} back={LIST}>
      <CommandForm
        submit={say("delegate")}
        send={async () => delegate({ to: fields.to.trim(), roles, ends_at: instant(fields.ends), ...(fields.starts ? { starts_at: instant(fields.starts) } : {}) })}
        done={() => void navigate(LIST, { replace: true })}
        follows={say("delegate.follows")}
      >
        <TextInput name="/to" label={say("delegation.to")} hint={say("delegation.to.hint")} required value={fields.to} onChange={set("to")} />
        <Checks label={say("roles")} value={roles} onChange={setRoles} choices={(me?.roles ?? []).map((id) => ({ id, label: code("role", id) }))} />
        <div className="row">
          <TextInput name="/starts_at" type="datetime-local" label={say("begins")} hint={say("delegation.begins.hint")} value={fields.starts} onChange={set("starts")} />
          <TextInput name="/ends_at" type="datetime-local" label={say("ends")} required value={fields.ends} onChange={set("ends")} />
        </div>
      </CommandForm>
    </Sheet>
  );
}
