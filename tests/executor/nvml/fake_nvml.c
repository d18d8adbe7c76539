/* A libnvidia-ml.so.1 for tests: the calls that ullage makes, answered from the file that FAKE_NVML_STATE names (fake_state.h).
 * It enforces what a driver enforces: places, slices, compute instances before GPU instances, and nothing goes while it is used.
 */
#include "fake_state.h"

struct memory { ull total, free, used; };
struct memory_v2 { uint version; ull total, reserved, free, used; };
struct profile_info { uint id, p2p, slices, count, sms, engines[5]; ull mib; };
struct profile_info_v2 { uint version, id, p2p, slices, count, sms, engines[5]; ull mib; char name[96]; };
struct placement { uint start, size; };
struct instance_info { handle device; uint id, profile_id; struct placement placement; };
struct compute_profile_info { uint id, slices, count, sms, engines[5]; };
struct process_info { uint pid; ull bytes; uint instance, compute; };
struct pci { char legacy[16]; uint domain, bus, device, id, subsystem; char bus_id[32]; };

/* Slices of NVML's profiles of compute instances, by their number. The driver's id is another number. */
static const int COMPUTE_SLICES[] = {1, 2, 3, 4, 7, 8, 6};
enum { COMPUTE_ID = 100 };

static struct gpu *gpu_of(handle device) { return &state.gpu[ON(device)]; }

static struct profile *profile_of(int gpu, int id) {
    EACH(profile, p) if (p->gpu == gpu && p->id == id) return p;
    return NULL;
}

static struct instance *instance_of(int gpu, int id) {
    EACH(instance, i) if (i->gpu == gpu && i->id == id) return i;
    return NULL;
}

static int has_start(struct profile *p, int start) {
    for (const char *at = p->starts; at; at = strchr(at, ',')) {
        at += *at == ',';
        if (atoi(at) == start) return 1;
    }
    return 0;
}

int nvmlInitWithFlags(uint flags) { (void)flags; BEGIN(-1); return SUCCESS; }
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int code) { (void)code; return "said the fake"; }
int nvmlDeviceGetCount_v2(uint *count) { BEGIN(-1); *count = (uint)state.gpu_count; return SUCCESS; }

int nvmlDeviceGetHandleByIndex_v2(uint index, handle *device) {
    BEGIN((int)index);
    if ((int)index >= state.gpu_count) return INVALID_ARGUMENT;
    *device = HANDLE(GPU, index, 0, 0);
    return SUCCESS;
}

int nvmlDeviceGetName(handle device, char *name, uint length) { BEGIN(ON(device)); snprintf(name, length, "%s", gpu_of(device)->name); return SUCCESS; }

int nvmlDeviceGetUUID(handle device, char *uuid, uint length) {
    BEGIN(ON(device));
    if (KIND(device) == MIG) snprintf(uuid, length, "MIG-%d-%d", ON(device), ID(device));
    else snprintf(uuid, length, "%s", gpu_of(device)->uuid);
    return SUCCESS;
}

int nvmlDeviceGetCudaComputeCapability(handle device, int *major, int *minor) {
    BEGIN(ON(device));
    *major = gpu_of(device)->major, *minor = gpu_of(device)->minor;
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo(handle device, struct memory *found) {
    BEGIN(ON(device));
    *found = (struct memory){(ull)gpu_of(device)->total_mib << 20, 0, 0};
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo_v2(handle device, struct memory_v2 *found) {
    BEGIN(ON(device));
    found->total = (ull)gpu_of(device)->total_mib << 20, found->reserved = (ull)gpu_of(device)->reserved_mib << 20;
    return SUCCESS;
}

int nvmlDeviceGetMigMode(handle device, uint *current, uint *pending) {
    BEGIN(ON(device));
    if (!gpu_of(device)->slices) return NOT_SUPPORTED;
    *current = (uint)gpu_of(device)->mode, *pending = (uint)gpu_of(device)->pending;
    return SUCCESS;
}

int nvmlDeviceSetMigMode(handle device, uint mode, int *status) {
    BEGIN(ON(device));
    struct gpu *g = gpu_of(device);
    if (!g->slices) return NOT_SUPPORTED;
    EACH(process, r) if (r->gpu == g->index) return IN_USE;
    EACH(instance, i) if (i->gpu == g->index && !mode) return IN_USE;
    g->pending = (int)mode;
    if (!g->reset) g->mode = (int)mode;
    *status = g->mode == (int)mode ? SUCCESS : RESET_REQUIRED;
    save();
    return SUCCESS;
}

int nvmlDeviceGetGpuInstanceProfileInfo(handle device, uint number, struct profile_info *info) {
    BEGIN(ON(device));
    EACH(profile, p) if (p->gpu == ON(device) && p->number == (int)number) {
        *info = (struct profile_info){(uint)p->id, 0, (uint)p->slices, (uint)p->count, (uint)p->sms, {0}, (ull)p->mib};
        return SUCCESS;
    }
    return NOT_SUPPORTED;
}

int nvmlDeviceGetGpuInstanceProfileInfoV(handle device, uint number, struct profile_info_v2 *info) {
    BEGIN(ON(device));
    EACH(profile, p) if (p->gpu == ON(device) && p->number == (int)number) {
        uint version = info->version;
        *info = (struct profile_info_v2){version, (uint)p->id, 0, (uint)p->slices, (uint)p->count, (uint)p->sms, {0}, (ull)p->mib, ""};
        snprintf(info->name, sizeof info->name, "MIG %.80s", p->name);
        return SUCCESS;
    }
    return NOT_SUPPORTED;
}

int nvmlDeviceGetGpuInstancePossiblePlacements_v2(handle device, uint id, struct placement *places, uint *count) {
    BEGIN(ON(device));
    struct profile *p = profile_of(ON(device), (int)id);
    if (!p || !gpu_of(device)->mode) return NOT_SUPPORTED;
    uint found = 0;
    for (int start = 0; start < 8; start++)
        if (has_start(p, start)) {
            if (places && found < *count) places[found] = (struct placement){(uint)start, (uint)p->size};
            found++;
        }
    *count = found;
    return SUCCESS;
}

int nvmlDeviceCreateGpuInstanceWithPlacement(handle device, uint id, const struct placement *place, handle *made) {
    BEGIN(ON(device));
    struct profile *p = profile_of(ON(device), (int)id);
    if (!p || !gpu_of(device)->mode || place->size != (uint)p->size || !has_start(p, (int)place->start)) return INVALID_ARGUMENT;
    int slices = p->slices, same = 0, start = (int)place->start;
    EACH(instance, i) {
        if (i->gpu != ON(device)) continue;
        struct profile *other = profile_of(i->gpu, i->profile_id);
        slices += other->slices, same += other == p;
        if (start < i->start + other->size && i->start < start + p->size) return INSUFFICIENT_RESOURCES;
    }
    if (slices > gpu_of(device)->slices || same >= p->count) return INSUFFICIENT_RESOURCES;
    state.instance[state.instance_count++] = (struct instance){ON(device), state.next, p->id, start};
    *made = HANDLE(INSTANCE, ON(device), state.next++, 0);
    save();
    return SUCCESS;
}

int nvmlGpuInstanceDestroy(handle instance) {
    BEGIN(ON(instance));
    EACH(compute, c) if (c->gpu == ON(instance) && c->instance == ID(instance)) return IN_USE;
    struct instance *gone = instance_of(ON(instance), ID(instance));
    if (!gone) return NOT_FOUND;
    *gone = state.instance[--state.instance_count];
    save();
    return SUCCESS;
}

int nvmlDeviceGetGpuInstances(handle device, uint id, handle *found, uint *count) {
    BEGIN(ON(device));
    *count = 0;
    EACH(instance, i) if (i->gpu == ON(device) && i->profile_id == (int)id) found[(*count)++] = HANDLE(INSTANCE, i->gpu, i->id, 0);
    return SUCCESS;
}

int nvmlDeviceGetGpuInstanceById(handle device, uint id, handle *found) {
    BEGIN(ON(device));
    *found = HANDLE(INSTANCE, ON(device), id, 0);
    return instance_of(ON(device), (int)id) ? SUCCESS : NOT_FOUND;
}

int nvmlGpuInstanceGetInfo(handle instance, struct instance_info *info) {
    BEGIN(ON(instance));
    struct instance *i = instance_of(ON(instance), ID(instance));
    if (!i) return NOT_FOUND;
    uint size = (uint)profile_of(i->gpu, i->profile_id)->size;
    *info = (struct instance_info){HANDLE(GPU, i->gpu, 0, 0), (uint)i->id, (uint)i->profile_id, {(uint)i->start, size}};
    return SUCCESS;
}

int nvmlGpuInstanceGetComputeInstanceProfileInfo(handle instance, uint number, uint engine, struct compute_profile_info *info) {
    (void)engine;
    BEGIN(ON(instance));
    struct instance *i = instance_of(ON(instance), ID(instance));
    int known = number < sizeof COMPUTE_SLICES / sizeof *COMPUTE_SLICES;
    if (!i || !known || COMPUTE_SLICES[number] > profile_of(i->gpu, i->profile_id)->slices) return NOT_SUPPORTED;
    *info = (struct compute_profile_info){COMPUTE_ID + number, (uint)COMPUTE_SLICES[number], 1, 0, {0}};
    return SUCCESS;
}

int nvmlGpuInstanceCreateComputeInstance(handle instance, uint id, handle *made) {
    BEGIN(ON(instance));
    struct instance *i = instance_of(ON(instance), ID(instance));
    if (!i) return NOT_FOUND;
    int slices = COMPUTE_SLICES[id - COMPUTE_ID], number = 0;
    EACH(compute, c) if (c->gpu == i->gpu && c->instance == i->id) slices += COMPUTE_SLICES[c->profile_id - COMPUTE_ID], number = c->id + 1;
    if (slices > profile_of(i->gpu, i->profile_id)->slices) return INSUFFICIENT_RESOURCES;
    state.compute[state.compute_count++] = (struct compute){i->gpu, i->id, number, (int)id};
    *made = HANDLE(COMPUTE, i->gpu, i->id, number);
    save();
    return SUCCESS;
}

int nvmlComputeInstanceDestroy(handle compute) {
    BEGIN(ON(compute));
    EACH(process, r) if (r->gpu == ON(compute) && r->instance == ID(compute)) return IN_USE;
    EACH(compute, c) if (c->gpu == ON(compute) && c->instance == ID(compute) && c->id == CID(compute)) {
        *c = state.compute[--state.compute_count];
        save();
        return SUCCESS;
    }
    return NOT_FOUND;
}

int nvmlGpuInstanceGetComputeInstances(handle instance, uint id, handle *found, uint *count) {
    BEGIN(ON(instance));
    *count = 0;
    EACH(compute, c) if (c->gpu == ON(instance) && c->instance == ID(instance) && c->profile_id == (int)id)
        found[(*count)++] = HANDLE(COMPUTE, c->gpu, c->instance, c->id);
    return SUCCESS;
}

int nvmlDeviceGetMaxMigDeviceCount(handle device, uint *count) { BEGIN(ON(device)); *count = (uint)gpu_of(device)->slices; return SUCCESS; }

int nvmlDeviceGetMigDeviceHandleByIndex(handle device, uint index, handle *found) {
    BEGIN(ON(device));
    EACH(compute, c) if (c->gpu == ON(device) && !index--) {
        *found = HANDLE(MIG, c->gpu, c->instance, c->id);
        return SUCCESS;
    }
    return NOT_FOUND;
}

int nvmlDeviceGetGpuInstanceId(handle device, uint *id) { BEGIN(ON(device)); *id = (uint)ID(device); return SUCCESS; }

int nvmlDeviceGetComputeRunningProcesses_v3(handle device, uint *count, struct process_info *found) {
    int code = enter(KIND(device) == MIG ? "mig:nvmlDeviceGetComputeRunningProcesses_v3" : __func__, ON(device));
    if (code) return code;
    uint room = found ? *count : 0, seen = 0;
    EACH(process, r) if (r->gpu == ON(device) && (KIND(device) == GPU || r->instance == ID(device))) {
        if (seen < room) found[seen] = (struct process_info){(uint)r->pid, (ull)r->mib << 20, (uint)r->instance, 0};
        seen++;
    }
    *count = seen;
    return seen > room ? INSUFFICIENT_SIZE : SUCCESS;
}

int nvmlDeviceGetMPSComputeRunningProcesses_v3(handle device, uint *count, struct process_info *found) {
    BEGIN(ON(device));
    uint room = found ? *count : 0, seen = 0;
    EACH(client, k) if (k->gpu == ON(device)) {
        if (seen < room) found[seen] = (struct process_info){(uint)k->pid, (ull)k->mib << 20, 0xFFFFFFFF, 0xFFFFFFFF};
        seen++;
    }
    *count = seen;
    return seen > room ? INSUFFICIENT_SIZE : SUCCESS;
}

int nvmlDeviceGetGraphicsRunningProcesses_v3(handle device, uint *count, struct process_info *found) {
    (void)found;
    BEGIN(ON(device));
    *count = 0;
    return KIND(device) == MIG ? NOT_SUPPORTED : SUCCESS;
}

static struct link *link_of(handle device, uint number) {
    EACH(link, l) if (l->gpu == ON(device) && l->number == (int)number) return l;
    return NULL;
}

int nvmlDeviceGetNvLinkState(handle device, uint number, uint *active) {
    BEGIN(ON(device));
    *active = link_of(device, number) != NULL;
    return SUCCESS;
}

int nvmlDeviceGetNvLinkRemoteDeviceType(handle device, uint number, uint *kind) {
    BEGIN(ON(device));
    struct link *l = link_of(device, number);
    if (!l) return INVALID_ARGUMENT;
    *kind = l->peer < 0 ? 2 : 0;
    return SUCCESS;
}

static int pci(int index, struct pci *found) { snprintf(found->bus_id, sizeof found->bus_id, "00000000:%02X:00.0", index + 1); return SUCCESS; }
int nvmlDeviceGetPciInfo_v3(handle device, struct pci *found) { BEGIN(ON(device)); return pci(ON(device), found); }

int nvmlDeviceGetNvLinkRemotePciInfo_v2(handle device, uint number, struct pci *found) {
    BEGIN(ON(device));
    struct link *l = link_of(device, number);
    return l ? pci(l->peer, found) : INVALID_ARGUMENT;
}

static int speed(handle device, int which, uint *found) {
    EACH(speed, v) if (v->gpu == ON(device)) {
        *found = (uint)v->told[which];
        return SUCCESS;
    }
    return NOT_SUPPORTED;
}

int nvmlDeviceGetMemoryBusWidth(handle device, uint *bits) { BEGIN(ON(device)); return speed(device, 0, bits); }
int nvmlDeviceGetMaxClockInfo(handle device, uint kind, uint *mhz) { BEGIN(ON(device)); return speed(device, (int)kind, mhz); }
int nvmlDeviceGetNumGpuCores(handle device, uint *cores) { BEGIN(ON(device)); return speed(device, 3, cores); }
