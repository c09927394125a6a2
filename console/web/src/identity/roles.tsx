import { useCode, useTexts } from "../i18n";
import { Badge, Loaded } from "../ui/page";
import { type Permission, useRoles } from "./data";
import { AdministrationPage } from "./tabs";

/** What each role sees, changes and is trusted with. */
export function Roles() {
  const { say } = useTexts();
  const code = useCode();
  const roles = useRoles();
  const list = (permissions: Permission[], action: "read" | "change") => {
    const lines = permissions.filter((permission) => permission.action === action);
    if (lines.length === 0) return <span aria-label={say("nothing")}>–</span>;
    return lines.map((line, n) => {
      const reach = typeof line.reach === "string" ? code("reach", line.reach) : say("reach.department");
      return (
        <div key={`${line.class}-${n}`}>
          {code("class", line.class)}: <span className="soft">{reach}</span>
        </div>
      );
    });
  };
  return (
    <AdministrationPage title={say("roles")}>
      <Loaded of={roles}>
        {(all) => (
          <div className="scroll" tabIndex={0} role="region" aria-label={say("roles")}>
            <table>
              <thead>
                <tr>
                  <th scope="col">{say("role")}</th>
                  <th scope="col">{say("role.reads")}</th>
                  <th scope="col">{say("role.changes")}</th>
                  <th scope="col">{say("role.duties")}</th>
                </tr>
              </thead>
              <tbody>
                {all.map((role) => (
                  <tr key={role.name} className="aligned">
                    <th scope="row">
                      {code("role", role.name)} {!role.built_in && <Badge kind="ahead">{say("role.own")}</Badge>}
                    </th>
                    <td>{list(role.permissions, "read")}</td>
                    <td>{list(role.permissions, "change")}</td>
                    <td>{(role.duties ?? []).map((duty) => code("duty", duty)).join(", ")}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
      </Loaded>
    </AdministrationPage>
  );
}
