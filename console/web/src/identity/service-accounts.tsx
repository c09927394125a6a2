import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { Outlet } from "react-router";

import { note, queryClient } from "../app/status";
import { useCode, useTexts } from "../i18n";
import { Button, ButtonLink } from "../ui/button";
import { Checks, TextInput } from "../ui/fields";
import { CommandForm, Sheet } from "../ui/form";
import { Badge, Empty, Loaded } from "../ui/page";
import { ProblemNote } from "../ui/problem";
import { createServiceAccount, disableServiceAccount, useRoles, useServiceAccounts } from "./data";
import { AdministrationPage } from "./tabs";

const LIST = "/administration/service-accounts";

export function ServiceAccounts() {
  const { say } = useTexts();
  const code = useCode();
  const accounts = useServiceAccounts();
  const end = useMutation({
    mutationFn: disableServiceAccount,
    onSuccess: () => queryClient.invalidateQueries({ queryKey: ["service-accounts"] }),
    onError: note,
  });
  return (
    <AdministrationPage title={say("service_accounts")} actions={<ButtonLink kind="main" to={`${LIST}/new`}>{say("service_account.new")}</ButtonLink>}>
      {end.isError && <ProblemNote error={end.error} />}
      <Loaded of={accounts}>
        {(all) =>
          all.length === 0 ? (
            <Empty>{say("service_accounts.none")}</Empty>
          ) : (
            <div className="scroll" tabIndex={0} role="region" aria-label={say("service_accounts")}>
              <table>
                <thead>
                  <tr>
                    <th scope="col">{say("name")}</th>
                    <th scope="col">{say("roles")}</th>
                    <th scope="col">{say("actions")}</th>
                  </tr>
                </thead>
                <tbody>
                  {all.map((account) => (
                    <tr key={account.account_id}>
                      <th scope="row">{account.name}</th>
                      <td>{account.roles.map((role) => code("role", role)).join(", ")}</td>
                      <td>
                        {account.disabled ? (
                          <Badge kind="soft">{code("user", "disabled")}</Badge>
                        ) : (
                          <Button kind="quiet" onPress={() => end.mutate(account.account_id)} aria-label={`${say("user.disable")}: ${account.name}`}>
                            {say("user.disable")}
                          </Button>
                        )}
                      </td>
                    </tr>
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

export function NewServiceAccount() {
  const { say } = useTexts();
  const code = useCode();
  const [name, setName] = useState("");
  const [roles, setRoles] = useState<string[]>([]);
  const [credential, setCredential] = useState<string | null>(null);
  const all = useRoles().data ?? [];
  return (
    <Sheet title={say("service_account.new")} back={LIST}>
      {credential ? (
        <div className="note" role="status">
          <p>{say("service_account.credential")}</p>
          <p className="code wrap">{credential}</p>
        </div>
      ) : (
        <CommandForm
          submit={say("service_account.new")}
          send={() => createServiceAccount({ name: name.trim(), roles })}
          done={(answer) => setCredential((answer as { credential: string }).credential)}
        >
          <TextInput name="/name" label={say("name")} required value={name} onChange={setName} />
          <Checks label={say("roles")} value={roles} onChange={setRoles} choices={all.map((role) => ({ id: role.name, label: code("role", role.name) }))} />
        </CommandForm>
      )}
    </Sheet>
  );
}
