import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { Link, Outlet, useNavigate, useParams } from "react-router";

import { note, queryClient } from "../app/status";
import { useCode, useTexts } from "../i18n";
import { Button, ButtonLink } from "../ui/button";
import { Checks, TextInput } from "../ui/fields";
import { CommandForm, Sheet } from "../ui/form";
import { Badge, Empty, Loaded } from "../ui/page";
import { ProblemNote } from "../ui/problem";
import { changeRoles, disable, enable, invite, inviteAgain, type User, useRoles, useUsers } from "./data";
import { AdministrationPage } from "./tabs";
import { Ticket } from "./ticket";

const LIST = "/administration/users";

export function Users() {
  const { say } = useTexts();
  const users = useUsers();
  return (
    <AdministrationPage title={say("users")} actions={<ButtonLink kind="main" to={`${LIST}/invite`}>{say("user.invite")}</ButtonLink>}>
      <Loaded of={users}>
        {(data) => {
          const all = data.pages.flatMap((page) => page.items);
          if (all.length === 0) return <Empty>{say("users.none")}</Empty>;
          return (
            <>
              <div className="scroll" tabIndex={0} role="region" aria-label={say("users")}>
                <table>
                  <thead>
                    <tr>
                      <th scope="col">{say("email")}</th>
                      <th scope="col">{say("roles")}</th>
                      <th scope="col">{say("totp.short")}</th>
                      <th scope="col">{say("person")}</th>
                      <th scope="col">{say("actions")}</th>
                    </tr>
                  </thead>
                  <tbody>
                    {all.map((user) => (
                      <UserRow key={user.user_id} user={user} />
                    ))}
                  </tbody>
                </table>
              </div>
              {users.hasNextPage && (
                <Button onPress={() => void users.fetchNextPage()} isPending={users.isFetchingNextPage}>
                  {say("more")}
                </Button>
              )}
            </>
          );
        }}
      </Loaded>
      <Outlet />
    </AdministrationPage>
  );
}

function UserRow({ user }: { user: User }) {
  const { say } = useTexts();
  const code = useCode();
  const change = useMutation({
    mutationFn: async (what: "enable" | "disable" | "again") => {
      if (what === "again") return (await inviteAgain(user.user_id)).ticket;
      await (what === "enable" ? enable : disable)(user.user_id);
      return null;
    },
    onSuccess: () => queryClient.invalidateQueries({ queryKey: ["users"] }),
    onError: note,
  });
  return (
    <tr>
      <th scope="row">
        {user.email}
        {user.state !== "active" && <Badge kind={user.state === "invited" ? "ahead" : "soft"}>{code("user", user.state)}</Badge>}
        {change.isError && <ProblemNote error={change.error} />}
        {change.data && <Ticket ticket={change.data} />}
      </th>
      <td>{user.roles.map((role) => code("role", role)).join(", ")}</td>
      <td>{user.totp ? say("yes") : say("no")}</td>
      <td>{user.employee_id && <Link to={`/people/${user.employee_id}`}>{say("person.show")}</Link>}</td>
      <td className="nowrap">
        <Link className="rowcommand" to={`${LIST}/${user.user_id}/roles`} aria-label={`${say("roles.change")}: ${user.email}`}>
          {say("roles.change")}
        </Link>{" "}
        {user.state === "disabled" ? (
          <Button kind="quiet" onPress={() => change.mutate("enable")} aria-label={`${say("user.enable")}: ${user.email}`}>
            {say("user.enable")}
          </Button>
        ) : (
          <>
            <Button kind="quiet" onPress={() => change.mutate("again")} aria-label={`${say("user.ticket")}: ${user.email}`}>
              {say("user.ticket")}
            </Button>{" "}
            <Button kind="quiet" onPress={() => change.mutate("disable")} aria-label={`${say("user.disable")}: ${user.email}`}>
              {say("user.disable")}
            </Button>
          </>
        )}
      </td>
    </tr>
  );
}

function RoleChecks({ value, onChange }: { value: string[]; onChange: (roles: string[]) => void }) {
  const { say } = useTexts();
  const code = useCode();
  const roles = useRoles().data ?? [];
  return <Checks label={say("roles")} value={value} onChange={onChange} choices={roles.map((role) => ({ id: role.name, label: code("role", role.name) }))} />;
}

export function Invite() {
  const { say } = useTexts();
  const [email, setEmail] = useState("");
  const [roles, setRoles] = useState<string[]>([]);
  const [ticket, setTicket] = useState<string | null>(null);
  return (
    <Sheet title={say("user.invite")} back={LIST}>
      {ticket ? (
        <Ticket ticket={ticket} />
      ) : (
        <CommandForm
          submit={say("user.invite")}
          send={() => invite({ email: email.trim(), roles })}
          done={(answer) => setTicket((answer as { ticket: string }).ticket)}
          follows={say("user.invite.follows")}
        >
          <TextInput name="/email" type="email" label={say("email")} required value={email} onChange={setEmail} />
          <RoleChecks value={roles} onChange={setRoles} />
        </CommandForm>
      )}
    </Sheet>
  );
}

export function ChangeRoles() {
  const { say } = useTexts();
  const id = useParams()["id"] ?? "";
  const user = useUsers().data?.pages.flatMap((page) => page.items).find((one) => one.user_id === id);
  return (
    <Sheet title={say("roles.change")} back={LIST}>
      {user && <RolesForm user={user} />}
    </Sheet>
  );
}

function RolesForm({ user }: { user: User }) {
  const { say } = useTexts();
  const navigate = useNavigate();
  const [roles, setRoles] = useState(user.roles);
  return (
    <CommandForm
      submit={say("roles.change")}
      send={() => changeRoles(user.user_id, { roles, employee_id: user.employee_id ?? null })}
      done={() => void navigate(LIST, { replace: true })}
      follows={say("roles.change.follows", { name: user.email })}
    >
      <RoleChecks value={roles} onChange={setRoles} />
    </CommandForm>
  );
}
