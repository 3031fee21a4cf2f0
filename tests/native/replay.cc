// Loads an export by TensorFlow's C API, as a server does, replays its warm-up requests and compares the answers.
//
// Usage: replay SAVEDMODEL. Prints a line for each request; exits with 1 at the first answer that differs.
// It reads protobuf's wire format itself, so that it compiles in seconds against the headers of the C API alone.

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "tensorflow/c/c_api.h"

namespace {

constexpr double kTolerance = 1e-4;  // of a float, as at export

[[noreturn]] void Fail(const std::string& message) {
  std::cerr << message << std::endl;
  std::exit(1);
}

// Reads numbers of the wire format: seven bits a byte, the lowest first.
uint64_t ReadNumber(const std::string& bytes, size_t* place) {
  uint64_t value = 0;
  for (int shift = 0;; shift += 7) {
    const uint8_t byte = bytes.at((*place)++);
    value |= uint64_t{byte & 0x7Fu} << shift;
    if (!(byte & 0x80)) return value;
  }
}

// A message: by field its numbers, and its strings, messages and packed numbers, in their order.
struct Message {
  std::map<int, std::vector<uint64_t>> numbers;
  std::map<int, std::vector<std::string>> parts;

  explicit Message(const std::string& bytes) {
    for (size_t place = 0; place < bytes.size();) {
      const uint64_t tag = ReadNumber(bytes, &place);
      const int field = tag >> 3, type = tag & 7;
      if (type == 0) {
        numbers[field].push_back(ReadNumber(bytes, &place));
        continue;
      }
      const size_t size = type == 2 ? ReadNumber(bytes, &place) : type == 1 ? 8 : 4;
      parts[field].push_back(bytes.substr(place, size));
      place += size;
    }
  }

  std::vector<std::string> Parts(int field) const {
    const auto found = parts.find(field);
    return found == parts.end() ? std::vector<std::string>() : found->second;
  }

  std::string Part(int field) const {
    const auto found = Parts(field);
    return found.empty() ? "" : found.back();
  }

  int64_t Number(int field) const {
    const auto found = numbers.find(field);
    return found == numbers.end() ? 0 : static_cast<int64_t>(found->second.back());
  }

  std::map<std::string, std::string> Entries(int field) const {
    std::map<std::string, std::string> entries;
    for (const std::string& part : Parts(field)) entries[Message(part).Part(1)] = Message(part).Part(2);
    return entries;
  }
};

// A tensor as texts, or as numbers.
struct Values {
  TF_DataType type;
  std::vector<int64_t> shape;
  std::vector<std::string> texts;
  std::vector<double> numbers;

  int64_t Size() const {
    int64_t size = 1;
    for (const int64_t dimension : shape) size *= dimension;
    return size;
  }

  void Append(const void* data) {
    for (int64_t i = 0; i < Size(); ++i) {
      if (type == TF_FLOAT) numbers.push_back(static_cast<const float*>(data)[i]);
      if (type == TF_INT32) numbers.push_back(static_cast<const int32_t*>(data)[i]);
    }
  }
};

// Reads a TensorProto: dtype 1, tensor_shape 2, tensor_content 4, float_val 5, int_val 7, string_val 8.
Values ReadProto(const std::string& bytes) {
  const Message proto(bytes);
  Values values{static_cast<TF_DataType>(proto.Number(1)), {}, proto.Parts(8), {}};
  for (const std::string& dimension : Message(proto.Part(2)).Parts(2))
    values.shape.push_back(Message(dimension).Number(1));
  const std::string floats = proto.Part(5), integers = proto.Part(7);
  const std::string content = floats.empty() ? proto.Part(4) : floats;
  if (!content.empty()) values.Append(content.data());
  for (size_t place = 0; place < integers.size();)
    values.numbers.push_back(static_cast<int32_t>(ReadNumber(integers, &place)));
  return values;
}

Values ReadTensor(TF_Tensor* tensor) {
  Values values{TF_TensorType(tensor), {}, {}, {}};
  for (int i = 0; i < TF_NumDims(tensor); ++i) values.shape.push_back(TF_Dim(tensor, i));
  if (values.type != TF_STRING) {
    values.Append(TF_TensorData(tensor));
    return values;
  }
  const auto* texts = static_cast<const TF_TString*>(TF_TensorData(tensor));
  for (int64_t i = 0; i < values.Size(); ++i)
    values.texts.emplace_back(TF_TString_GetDataPointer(&texts[i]), TF_TString_GetSize(&texts[i]));
  return values;
}

TF_Tensor* MakeTensor(const Values& values) {
  if (values.type != TF_STRING) Fail("A request holds something other than texts.");
  const size_t size = values.texts.size() * sizeof(TF_TString);
  TF_Tensor* tensor = TF_AllocateTensor(TF_STRING, values.shape.data(), values.shape.size(), size);
  auto* texts = static_cast<TF_TString*>(TF_TensorData(tensor));
  for (size_t i = 0; i < values.texts.size(); ++i) {
    TF_TString_Init(&texts[i]);
    TF_TString_Copy(&texts[i], values.texts[i].data(), values.texts[i].size());
  }
  return tensor;
}

bool AreAlike(const Values& one, const Values& other) {
  if (one.type != other.type || one.shape != other.shape || one.texts != other.texts) return false;
  if (one.numbers.size() != other.numbers.size()) return false;
  const double tolerance = one.type == TF_FLOAT ? kTolerance : 0;
  for (size_t i = 0; i < one.numbers.size(); ++i)
    if (!(std::abs(one.numbers[i] - other.numbers[i]) <= tolerance * std::max(1.0, std::abs(other.numbers[i]))))
      return false;
  return true;
}

class Model {
 public:
  explicit Model(const std::string& folder) {
    const char* tags[] = {"serve"};
    TF_Buffer* meta_graph = TF_NewBuffer();
    TF_SessionOptions* options = TF_NewSessionOptions();
    session_ = TF_LoadSessionFromSavedModel(options, nullptr, folder.c_str(), tags, 1, graph_, meta_graph, status_);
    Check("load " + folder);
    const std::string bytes(static_cast<const char*>(meta_graph->data), meta_graph->length);
    signatures_ = Message(bytes).Entries(5);  // MetaGraphDef.signature_def
    TF_DeleteSessionOptions(options);
    TF_DeleteBuffer(meta_graph);
  }

  ~Model() {
    TF_CloseSession(session_, status_);
    TF_DeleteSession(session_, status_);
    TF_DeleteGraph(graph_);
    TF_DeleteStatus(status_);
  }

  std::map<std::string, Values> Ask(const std::string& name, const std::map<std::string, std::string>& inputs) {
    if (!signatures_.count(name)) Fail("The export has no signature " + name + ".");
    const Message signature(signatures_[name]);  // SignatureDef: inputs 1, outputs 2
    const auto sources = signature.Entries(1), targets = signature.Entries(2);
    std::vector<TF_Output> fed, fetched;
    std::vector<TF_Tensor*> given, found(targets.size());
    for (const auto& [key, proto] : inputs) {
      fed.push_back(Find(sources.at(key)));
      given.push_back(MakeTensor(ReadProto(proto)));
    }
    for (const auto& [key, info] : targets) fetched.push_back(Find(info));
    TF_SessionRun(session_, nullptr, fed.data(), given.data(), fed.size(), fetched.data(), found.data(),
                  fetched.size(), nullptr, 0, nullptr, status_);
    Check("answer " + name);
    std::map<std::string, Values> answers;
    auto tensor = found.begin();
    for (const auto& [key, info] : targets) answers[key] = ReadTensor(*tensor++);
    for (TF_Tensor* each : given) TF_DeleteTensor(each);
    for (TF_Tensor* each : found) TF_DeleteTensor(each);
    return answers;
  }

 private:
  // Finds what a TensorInfo names, such as "serving_default_text:0".
  TF_Output Find(const std::string& info) {
    const std::string name = Message(info).Part(1);
    const size_t colon = name.rfind(':');
    TF_Operation* operation = TF_GraphOperationByName(graph_, name.substr(0, colon).c_str());
    if (!operation) Fail("The graph has no operation " + name + ".");
    return {operation, std::atoi(name.c_str() + colon + 1)};
  }

  void Check(const std::string& what) {
    if (TF_GetCode(status_) != TF_OK) Fail("The export does not " + what + ": " + TF_Message(status_));
  }

  TF_Graph* graph_ = TF_NewGraph();
  TF_Status* status_ = TF_NewStatus();
  TF_Session* session_ = nullptr;
  std::map<std::string, std::string> signatures_;
};

// Reads a TFRecord file: of each record its length in 8 bytes, 4 of a checksum, the content, 4 of another checksum.
std::vector<std::string> ReadRecords(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(file)), {});
  std::vector<std::string> records;
  for (size_t place = 0; place < bytes.size();) {
    uint64_t size = 0;
    for (int i = 7; i >= 0; --i) size = size << 8 | static_cast<uint8_t>(bytes.at(place + i));
    records.push_back(bytes.substr(place + 12, size));
    place += 12 + size + 4;
  }
  return records;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) Fail("Usage: replay SAVEDMODEL");
  const std::string folder = argv[1];
  const auto records = ReadRecords(folder + "/assets.extra/tf_serving_warmup_requests");
  if (records.empty()) Fail("The export has no warm-up requests.");
  Model model(folder);
  for (const std::string& record : records) {
    const Message log(Message(record).Part(6));  // PredictionLog.predict_log: request 1, response 2
    const Message request(log.Part(1)), response(log.Part(2));
    const std::string signature = Message(request.Part(1)).Part(3);  // ModelSpec.signature_name
    const auto answers = model.Ask(signature, request.Entries(2));
    const auto expected = response.Entries(1);
    if (expected.size() != answers.size()) Fail(signature + " has other outputs than it had.");
    for (const auto& [key, proto] : expected)
      if (!AreAlike(answers.at(key), ReadProto(proto))) Fail(signature + " answers otherwise: " + key + ".");
    std::cout << signature << " answers as it did." << std::endl;
  }
  return 0;
}
