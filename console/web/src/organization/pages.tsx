export { Chart } from "./chart";
export { CloseDepartment, Departments, MoveDepartment, NewDepartment, RenameDepartment } from "./departments";
export { Jobs, NewJob, RetireJob, RetitleJob } from "./jobs";
export { ChangeLocation, CloseLocation, Locations, NewLocation } from "./locations";
