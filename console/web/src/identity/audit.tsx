import { useSearchParams } from "react-router";

import { useCode, useTexts } from "../i18n";
import { formatInstant } from "../lib/day";
import { Button } from "../ui/button";
import { Badge, Empty, Loaded } from "../ui/page";
import { useDecisions } from "./data";
import { AdministrationPage } from "./tabs";

/** As many as the command API gives at once. */
const PAGE = 1000;

/** Who got in, who did not, and who gave whom which right. */
export function Audit() {
  const { say, language } = useTexts();
  const code = useCode();
  const [search, setSearch] = useSearchParams();
  const after = Number(search.get("after")) || 0;
  const decisions = useDecisions(after);
  return (
    <AdministrationPage title={say("nav.audit")}>
      <Loaded of={decisions}>
        {(all) => {
          if (all.length === 0) return <Empty>{say("audit.none")}</Empty>;
          const last = all.at(-1)?.entry ?? 0;
          return (
            <>
              <div className="actions">
                {after > 0 && <Button onPress={() => setSearch({})}>{say("audit.first")}</Button>}
                {all.length === PAGE && <Button onPress={() => setSearch({ after: String(last) })}>{say("more")}</Button>}
              </div>
              <div className="scroll" tabIndex={0} role="region" aria-label={say("nav.audit")}>
                <table>
                  <thead>
                    <tr>
                      <th scope="col">{say("when")}</th>
                      <th scope="col">{say("what")}</th>
                      <th scope="col">{say("outcome")}</th>
                      <th scope="col">{say("whom")}</th>
                      <th scope="col">{say("who")}</th>
                    </tr>
                  </thead>
                  <tbody>
                    {all.map((decision) => (
                      <tr key={decision.entry}>
                        <td className="nowrap">{formatInstant(decision.at, language)}</td>
                        <td>{code("action", decision.action)}</td>
                        <td>
                          <Badge kind={decision.outcome === "granted" ? "good" : "bad"}>{code("outcome", decision.outcome)}</Badge>
                        </td>
                        <td className="code">{decision.subject}</td>
                        <td className="code">{decision.actor}</td>
                      </tr>
                    ))}
                  </tbody>
                </table>
              </div>
            </>
          );
        }}
      </Loaded>
    </AdministrationPage>
  );
}
